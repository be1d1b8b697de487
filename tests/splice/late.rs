//! A program that is trusted, and then splices: it gets its bytes or an error, never a clean end before them.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sidestep::testbed::StackBytes;

use crate::drive::pattern;
use crate::others::{named, said_of};
use crate::relay::{accept, connect, listen, receive, send, splice, wait};
use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::link::free_port;
use crate::support::machine::require_root;
use crate::support::wait::wait_until;

/// Bytes of each round trip by which the reader earns its trust.
const BYTES: usize = 500;
/// The first byte of the last one.
const LAST: u8 = 1;
/// So many that do not take the stack, one after the other, tell that it has its trust.
const TRUSTED: usize = 100;
/// Round trips with a reader that is not to be trusted: many more than the probation.
const TRIPS: usize = 400;

/// Role: reads by recv, and answers, until its peer says that this was the last; then waits until something has come, and
/// splices. Ends with 0 when it got all or an error. With `end`, it waits until the end has come as well.
pub(crate) fn reader(port: u16, end: bool) {
    let stream = accept(&listen(port));
    let mut space = [0; BYTES];
    while space[0] != LAST {
        let mut len = 0;
        while len < BYTES {
            len += receive(&stream, &mut space[len..]).unwrap();
        }
        send(&stream, &space).unwrap();
    }
    wait(&stream, if end { PollFlags::from_bits_retain(libc::POLLRDHUP) } else { PollFlags::POLLIN }).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let (out, into) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    let mut got = Vec::new();
    loop {
        match splice(stream.as_fd(), into.as_fd(), 1 << 16) {
            Ok(0) => break,
            Ok(_) => {
                let mut part = [0; 1 << 16];
                let len = nix::unistd::read(&out, &mut part).unwrap();
                got.extend_from_slice(&part[..len]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => match wait(&stream, PollFlags::POLLIN) {
                Err(error) if error.kind() == ErrorKind::TimedOut => panic!("{} bytes, then nothing", got.len()),
                done => done.unwrap(),
            },
            Err(error) => {
                println!("an error, as it should be: {error}");
                return;
            }
        }
    }
    assert!(got == pattern(1, BYTES), "the end after {} of {BYTES} bytes", got.len());
}

fn late_splicer(test: &str, how: &str) {
    if !require_root(test) || !readers_are_seen(test) {
        return;
    }
    let (mut done, mut said) = splices_late(how);
    // The thread that resets may not have got a processor in time.
    if done != [true; 3] && said.contains("has lost bytes") {
        println!("once more, since the agent was late: {said}");
        (done, said) = splices_late(how);
    }
    assert_eq!(done, [true; 3], "{said}");
    assert!(said.contains("reads with splice(2)"), "{said}");
    assert!(said.contains("the connection was reset"), "{said}");
    // The first was enough: the later ones were never trusted.
    // It may have tried twice, on a machine that is busy.
    let mut resets: Vec<_> = said.lines().filter(|line| line.contains("the connection was reset")).collect();
    resets.dedup();
    assert_eq!(resets.len(), 1, "{said}");
}

/// Three late splicers, one after the other: whether each got all or an error, and what the agent has said of them.
fn splices_late(how: &str) -> (Vec<bool>, String) {
    let place = Place::new();
    let running = place.run(&[]);
    let (mut done, mut readers) = (Vec::new(), Vec::new());
    for trusted in ["trusted", "known", "known"] {
        let port = free_port();
        let mut late = start(place.cgroup(), &format!("late {port} {how}"));
        readers.push(named(late.id()));
        // In the cgroup, too: this thread alone would do, but cgroups hold processes.
        let mut feeder = start(place.cgroup(), &format!("feed {port} {how} {trusted}"));
        done.push(late.wait().unwrap().success());
        let _ = feeder.wait();
    }
    (done, said_of(&running.stop().err, &readers))
}

/// Role: the other end of [`reader`]. With `trusted` it goes on until the reader has its trust. With a `gate` it says that by
/// creating that file with the ending `.ready`, and goes on as soon as the file itself is there.
pub(crate) fn feeder(port: u16, end: bool, trusted: bool, gate: Option<&Path>) {
    let socket = connect(port);
    let mut space = [0; BYTES];
    let mut trip = |first| {
        let before = StackBytes::of(&socket).unwrap().sent;
        let mut bytes = pattern(0, BYTES);
        bytes[0] = first;
        send(&socket, &bytes).unwrap();
        let mut len = 0;
        while len < BYTES {
            len += receive(&socket, &mut space[len..]).unwrap();
        }
        StackBytes::of(&socket).unwrap().sent == before
    };
    let mut in_a_row = 0;
    if trusted {
        wait_until("the reader has its trust", || {
            (0..TRUSTED).for_each(|_| in_a_row = if trip(0) { in_a_row + 1 } else { 0 });
            in_a_row >= TRUSTED
        });
    } else {
        (0..TRIPS).for_each(|_| _ = trip(0));
    }
    trip(LAST);
    if let Some(gate) = gate {
        std::fs::write(gate.with_extension("ready"), "").unwrap();
        wait_until("the gate opens", || gate.exists());
    }
    send(&socket, &pattern(1, BYTES)).unwrap();
    if end {
        socket.shutdown(std::net::Shutdown::Write).unwrap();
    } else {
        std::thread::sleep(Duration::from_secs(2));
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
    // An error, or the reader's end.
    let _ = receive(&socket, &mut space);
}

#[test]
fn a_trusted_reader_that_splices_gets_an_error() {
    late_splicer("a_trusted_reader_that_splices_gets_an_error", "open");
}

#[test]
fn a_trusted_reader_that_splices_behind_the_end_gets_an_error() {
    late_splicer("a_trusted_reader_that_splices_behind_the_end_gets_an_error", "end");
}

/// Splices from a socket that has nothing, so that this program is one that splices.
fn splice_once() {
    let port = free_port();
    let listener = listen(port);
    let client = connect(port);
    let _server = listener.accept().unwrap();
    let (_out, into) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    assert_eq!(splice(client.as_fd(), into.as_fd(), 1).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Whether a thread of the process is inside openat(2), as which glibc makes open(2).
fn opens(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let call = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
    let openat = format!("{} ", libc::SYS_openat);
    threads.map(call).any(|call| call.starts_with(&openat))
}

#[test]
fn a_disk_that_stands_still_delays_no_reset() {
    let test = "a_disk_that_stands_still_delays_no_reset";
    if !require_root(test) || !readers_are_seen(test) {
        return;
    }
    let place = Place::new();
    let running = place.run(&[]);
    std::fs::create_dir_all(place.state()).unwrap();
    let (port, gate) = (free_port(), place.state().join("gate"));
    let mut late = start(place.cgroup(), &format!("late {port} open"));
    let _feeder = start(place.cgroup(), &format!("feed {port} open trusted {}", gate.display()));
    wait_until("the reader has its trust", || gate.with_extension("ready").exists());
    // Who opens it to write waits for a reader.
    let file = place.state().join("splicers");
    mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    splice_once();
    wait_until("the agent writes down what has spliced", || opens(running.id()));
    std::fs::write(&gate, "").unwrap();
    let all = late.wait().unwrap().success();
    assert!(opens(running.id()), "the disk did not stand still");
    let _reader = std::fs::File::open(&file).unwrap();
    let said = running.stop();
    assert!(all, "{}", said.err);
    assert!(said.err.contains("the connection was reset"), "{}", said.err);
}
