//! An end is killed in the middle of a stream: the other learns of it at once, and gets all that was sent.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use sidestep::dataplane::Counter;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, expect, pair, pattern, send, wait};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::{timeout, wait_until};

/// Runs `work` in a child of its own, with this process's descriptors. Killed with the value.
struct Forked(Pid);

impl Forked {
    /// `work` may make system calls and nothing else: other threads of this process may hold any lock.
    fn new(mut work: impl FnMut()) -> Self {
        // SAFETY: the child calls only `work`, which by contract makes system calls on memory it has already.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Self(child),
            ForkResult::Child => loop {
                work();
            },
        }
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGKILL).unwrap();
        waitpid(self.0, None).unwrap();
    }
}

/// A number that both processes see.
fn shared() -> &'static AtomicU64 {
    let (read_write, anonymous) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, read_write, anonymous, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: the page is never unmapped, is aligned, and zero is a valid AtomicU64.
    unsafe { &*page.cast() }
}

/// Waits for the socket in the child, where nothing may allocate; only for the time to pass with -1.
fn wait_raw(fd: i32, events: i16, milliseconds: i32) {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
}

#[test]
fn a_killed_writer_ends_the_stream_after_its_last_byte() {
    let cgroups = NestedCgroups::new();
    // In an emulator plain TCP, too, takes up to 9 s for a megabyte of such small segments: they overflow the receiver's
    // buffer before it runs, and each loss waits for a timer.
    let enough = if crate::support::machine::is_emulated() { 300_000 } else { 2_000_000 };
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let bytes = pattern(1, 65_536);
        let redirected = || acceleration.snapshot().unwrap().get(Counter::RedirectedBytes);
        let sent = shared();
        let fd = client.as_raw_fd();
        let mut at = 0;
        let writer = Forked::new(|| {
            let end = (at + 700).min(bytes.len());
            // SAFETY: the bytes are live; the socket is this process's by inheritance.
            let written = unsafe { libc::write(fd, bytes[at..].as_ptr().cast(), end - at) };
            if written > 0 {
                at = (at + written as usize) % bytes.len();
                sent.fetch_add(written as u64, Ordering::Relaxed);
                if at < 700 {
                    // A reader that is behind bytes of the stack catches up, so that redirection can begin, or begin again.
                    wait_raw(-1, 0, 5);
                }
            } else {
                wait_raw(fd, libc::POLLOUT, 1000);
            }
        });
        // The child has it now; it must be the only one.
        drop(client);
        let start = Instant::now();
        let mut writer = Some(writer);
        let mut buffer = vec![0; 5_000];
        let mut received = 0;
        loop {
            match (&server).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let at = received % bytes.len();
                    let first = read.min(bytes.len() - at);
                    assert!(bytes[at..].starts_with(&buffer[..first]), "{pairing:?}: other bytes at {received}");
                    assert!(bytes.starts_with(&buffer[first..read]), "{pairing:?}: other bytes at {received}");
                    received += read;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&server, PollFlags::POLLIN),
                Err(error) => panic!("{pairing:?}: recv: {error}"),
            }
            // Also after a slow start: the end is to come in a stream that is redirected.
            if received > enough
                && redirected() > 0
                && let Some(writer) = writer.take()
            {
                writer.kill();
            }
            assert!(
                start.elapsed() < 2 * timeout(),
                "{pairing:?}: no end after {received} bytes: {}",
                describe(&acceleration.snapshot().unwrap())
            );
        }
        let sent = sent.load(Ordering::Relaxed);
        let counters = acceleration.snapshot().unwrap();
        assert!(received as u64 >= sent, "{pairing:?}: {received} of {sent} bytes: {}", describe(&counters));
        assert!(counters.get(Counter::RedirectedBytes) > 0, "{pairing:?}: {}", describe(&counters));
    }
}

#[test]
fn a_killed_reader_is_an_error_for_its_writer_alone() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listener = listen(ANY_PORT).unwrap();
        let to = listener.local_addr().unwrap();
        let bystander = pair(&listener, to);
        for reads in [true, false] {
            let (client, server) = pair(&listener, to);
            let fd = server.as_raw_fd();
            let mut buffer = vec![0; 5_000];
            let reader = Forked::new(|| {
                // SAFETY: the buffer is live and writable; the socket is this process's by inheritance.
                if !reads || unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } <= 0 {
                    wait_raw(fd, if reads { libc::POLLIN } else { 0 }, 1000);
                }
            });
            drop(server);
            let error = write_until_error(&client, reader);
            assert!(
                matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "{pairing:?}, reads: {reads}: {error}"
            );
            drop(client);
            let bytes = pattern(5, 3_000);
            for (from, to) in [(&bystander.0, &bystander.1), (&bystander.1, &bystander.0)] {
                send(from, &bytes);
                expect(to, &bytes);
            }
        }
        wait_until("only the bystanders are members", || acceleration.members().unwrap() == 2);
    }
}

/// Writes to a child that is killed after 200 ms; how it ends.
fn write_until_error(client: &TcpStream, reader: Forked) -> std::io::Error {
    let bytes = pattern(2, 900);
    let start = Instant::now();
    let mut reader = Some(reader);
    loop {
        if start.elapsed() > Duration::from_millis(200)
            && let Some(reader) = reader.take()
        {
            reader.kill();
        }
        assert!(start.elapsed() < timeout(), "hung: no error after the reader was killed");
        match (&*client).write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(client), PollFlags::POLLOUT)];
                nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(50_u8)).unwrap();
            }
            Err(error) => return error,
        }
    }
}
