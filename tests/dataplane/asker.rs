//! A reader that asks FIONREAD how much there is, as nginx does, goes on when its connection goes back to the stack.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sidestep::agent::{Acceleration, TierChoice, check, choose_tier};
use sidestep::dataplane::{Counter, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, Finish, expect, pair, pattern, send};
use crate::nested::NestedCgroups;
use crate::support::wait::{timeout, wait_until};

/// Bytes of a request: two buffers of the reader, and a part of one.
const REQUEST: usize = 40;

/// What FIONREAD says.
pub(crate) fn unread(socket: &TcpStream) -> libc::c_int {
    let mut unread = 0;
    // SAFETY: FIONREAD writes one int to the address, which is live and writable.
    assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut unread) }, 0);
    unread
}

/// Answers each request with a byte, until the end. Waits for an event when a buffer is not full, or FIONREAD says 0.
fn serve(mut socket: &TcpStream) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1)).unwrap();
    let (mut buffer, mut got) = ([0; 16], 0);
    loop {
        let limit = EpollTimeout::try_from(timeout()).unwrap();
        let events = epoll.wait(&mut [EpollEvent::empty()], limit).unwrap();
        assert_eq!(events, 1, "after {got} bytes of a request no event comes");
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    got += read;
                    if got == REQUEST {
                        got = 0;
                        send(socket, b"a");
                    }
                    if read < buffer.len() || unread(socket) == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("recv: {error}"),
            }
        }
    }
}

#[test]
fn a_reader_that_asks_goes_on_when_its_connection_goes_back_to_the_stack() {
    let cgroups = NestedCgroups::new();
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let options =
        Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy: Policy::default() };
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    let config = check::configuration().unwrap();
    let listener = listen(ANY_PORT).unwrap();
    // By a detach, and by leaving while others could go on.
    for leaves in [false, true] {
        let acceleration = Acceleration::start(&cgroup, options.clone(), config).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|threads| {
            let _stop_on_panic = Finish(&stop);
            threads.spawn(|| serve(&server));
            let requests = threads.spawn(|| {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    send(&client, &pattern(round, REQUEST));
                    expect(&client, b"a");
                    answered.store(round, Ordering::Relaxed);
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
            });
            // Where FIONREAD does not see what was redirected, the pair of such a reader leaves before anything is.
            wait_until("requests are answered, and redirected", || {
                let redirected = acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
                answered.load(Ordering::Relaxed) > 10 && (config.spare_askers || redirected > 10)
            });
            if leaves {
                assert_eq!(acceleration.leave(&|_| true, timeout()).unwrap(), 0);
            }
            assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
            stop.store(true, Ordering::Relaxed);
            requests.join().unwrap();
        });
    }
}
