//! Programs that read by io_uring: those that receive are accelerated after their probation, in each way of receiving, and a proxy
//! that splices gets its bytes by the stack. The trace points at system calls do not see them, and they name no descriptor.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use nix::fcntl::OFlag;
use sidestep::testbed::StackBytes;

use crate::drive::ping;
use crate::relay::{accept, connect, listen, send};
use crate::ring::{BUFFER_SELECT, BUFFER_SHIFT, Entry, MORE, MULTISHOT, Operation, Ring};
use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::feature::Feature;
use crate::support::link::free_port;
use crate::support::machine::require_root;

/// Round trips until which a reader must have earned its trust: the probation takes some 80 messages, and the agent its time.
const MOST: usize = 2_000;
/// Round trips with a reader that is trusted, or with a proxy that is not to be: many more than the probation.
const TRIPS: usize = 400;

/// How a program receives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// One operation for each receive, which waits inside the kernel.
    Receive,
    /// A poll, and then a receive that does not wait.
    Poll,
    /// One operation that completes with each part, into buffers that the program has given.
    Multishot,
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Receive, Self::Poll, Self::Multishot]
            .into_iter()
            .find(|way| format!("{way:?}") == text)
            .ok_or_else(|| text.into())
    }
}

/// Bytes of a buffer; so many are given to a multishot receive, in the group of this number.
const SPACE: usize = 1 << 14;
const BUFFERS: usize = 4;
const GROUP: u16 = 1;

/// What completions say they are of.
const GIVING: u64 = 1;
const RECEIVING: u64 = 2;

/// Receives from one socket.
struct Reader<'a> {
    ring: Ring,
    socket: BorrowedFd<'a>,
    way: Way,
    buffers: Vec<u8>,
    is_armed: bool,
}

impl<'a> Reader<'a> {
    fn new(socket: BorrowedFd<'a>, way: Way) -> io::Result<Self> {
        let mut reader = Self { ring: Ring::new()?, socket, way, buffers: vec![0; BUFFERS * SPACE], is_armed: false };
        if matches!(way, Way::Multishot) {
            (0..BUFFERS).try_for_each(|number| reader.give(number))?;
        }
        Ok(reader)
    }

    /// The next bytes; none at the end.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.way {
            Way::Receive => self.once(0),
            Way::Poll => loop {
                // SAFETY: it names no buffer.
                unsafe { self.ring.run(Entry::poll(self.socket, libc::POLLIN))? };
                match self.once(libc::MSG_DONTWAIT.unsigned_abs()) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    done => return done,
                }
            },
            Way::Multishot => self.next_part(),
        }
    }

    fn once(&mut self, flags: u32) -> io::Result<Vec<u8>> {
        let address = self.buffers.as_mut_ptr() as u64;
        let entry = Entry { address, len: SPACE as u32, op_flags: flags, ..Entry::new(Operation::Recv, self.socket) };
        // SAFETY: the buffer lives as long as the ring, and nothing else uses it.
        let got = unsafe { self.ring.run(entry)? };
        Ok(self.buffers[..got].to_vec())
    }

    fn next_part(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if !self.is_armed {
                let receive = Entry::new(Operation::Recv, self.socket);
                let receive = Entry { flags: BUFFER_SELECT, priority: MULTISHOT, ..receive };
                // SAFETY: the buffers live as long as the ring.
                unsafe { self.ring.submit(Entry { buffer_group: GROUP, data: RECEIVING, ..receive })? };
                self.is_armed = true;
            }
            let done = self.ring.wait()?;
            if done.data == GIVING {
                assert!(done.result >= 0, "a buffer is refused: {}", done.result);
                continue;
            }
            self.is_armed = done.flags & MORE != 0;
            match done.result {
                0 => return Ok(Vec::new()),
                // All buffers were full.
                error if error == -libc::ENOBUFS => {}
                error @ ..0 => return Err(io::Error::from_raw_os_error(-error)),
                got => {
                    let number = (done.flags >> BUFFER_SHIFT) as usize;
                    let part = self.buffers[number * SPACE..][..got as usize].to_vec();
                    self.give(number)?;
                    return Ok(part);
                }
            }
        }
    }

    /// Gives one buffer to the kernel (again).
    fn give(&mut self, number: usize) -> io::Result<()> {
        let address = self.buffers[number * SPACE..].as_mut_ptr() as u64;
        let entry = Entry {
            operation: Operation::ProvideBuffers as u8,
            // How many.
            fd: 1,
            address,
            len: SPACE as u32,
            offset: number as u64,
            buffer_group: GROUP,
            data: GIVING,
            ..Entry::default()
        };
        // SAFETY: the buffer lives as long as the ring, and nothing reads it before a completion names it.
        unsafe { self.ring.submit(entry) }
    }
}

/// Role: sends everything back that it receives in this way, on any number of connections.
pub(crate) fn echo(port: u16, way: Way) {
    let listener = listen(port);
    loop {
        let stream = accept(&listener);
        std::thread::spawn(move || {
            let mut reader = Reader::new(stream.as_fd(), way).unwrap();
            loop {
                let part = reader.receive().unwrap_or_else(|error| panic!("{way:?}: {error}"));
                if part.is_empty() || send(&stream, &part).is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Write);
            // What is still on its way reaches the peer before the socket goes.
            let _ = crate::relay::receive(&stream, &mut [0]);
        });
    }
}

/// Role: accepts connections on `port`, and moves their bytes to `target` and back, by splices of io_uring.
pub(crate) fn proxy(port: u16, target: u16) {
    let listener = listen(port);
    loop {
        let client = accept(&listener);
        std::thread::spawn(move || {
            let server = connect(target);
            std::thread::scope(|ways| {
                ways.spawn(|| pump(&client, &server).unwrap());
                ways.spawn(|| pump(&server, &client).unwrap());
            });
        });
    }
}

fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut ring = Ring::new()?;
    let (out, into): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    loop {
        let got = when_ready(&mut ring, from, libc::POLLIN, Entry::splice(from.as_fd(), into.as_fd(), 1 << 16))?;
        if got == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut rest = got;
        while rest > 0 {
            rest -= when_ready(&mut ring, to, libc::POLLOUT, Entry::splice(out.as_fd(), to.as_fd(), rest))?;
        }
    }
}

/// Splices once, when the socket is ready for it.
fn when_ready(ring: &mut Ring, socket: &TcpStream, events: i16, splice: Entry) -> io::Result<usize> {
    loop {
        // SAFETY: neither names a buffer.
        match unsafe { ring.run(splice) } {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // SAFETY: as above.
                unsafe { ring.run(Entry::poll(socket.as_fd(), events))? };
            }
            done => return done,
        }
    }
}

/// Role: so many round trips, of which each request takes the stack.
pub(crate) fn stays_plain(port: u16, count: usize) {
    let socket = connect(port);
    for round in 0..count {
        let before = StackBytes::of(&socket).unwrap().sent;
        ping(&socket, round);
        assert!(StackBytes::of(&socket).unwrap().sent > before, "request {round} was redirected");
    }
}

/// Whether programs can use io_uring here, so that `test` can run.
fn is_here(test: &str) -> bool {
    match Ring::new() {
        Ok(_) => true,
        Err(error) => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            let disabled = disabled.map_or_else(|_| "not there".into(), |text| text.trim().to_owned());
            eprintln!("\n*** {test}: NOT TESTED: io_uring: {error}; kernel.io_uring_disabled is {disabled} ***\n");
            false
        }
    }
}

#[test]
fn what_receives_by_io_uring_gets_every_byte_and_is_accelerated() {
    let test = "what_receives_by_io_uring_gets_every_byte_and_is_accelerated";
    if !require_root(test) || !readers_are_seen(test) || !is_here(test) {
        return;
    }
    for way in [Way::Receive, Way::Poll, Way::Multishot] {
        if matches!(way, Way::Multishot) && !Feature::UringMultishotReceive.required(&format!("{test}: {way:?}")) {
            continue;
        }
        let place = Place::new();
        let running = place.run(&[]);
        let port = free_port();
        let _echo = start(place.cgroup(), &format!("echo-uring {port} {way:?}"));
        let passes = |role: &str| start(place.cgroup(), role).wait().unwrap().success();
        assert!(passes(&format!("drive {port}")), "{way:?}: not every byte arrives on probation");
        assert!(passes(&format!("until-trusted {port} {MOST}")), "{way:?}: it does not join after its probation");
        assert!(passes(&format!("trusted {port} {MOST} {TRIPS}")), "{way:?}: not every byte arrives past the stack");
        let said = running.stop();
        // Those of the last client, there and back.
        assert!(said.counter("redirected_messages") >= TRIPS as u64, "{way:?}: few are redirected");
        // The agent names processes of the whole machine.
        let is_ours = |line: &str| line.contains("echo-uring") && line.contains("reads with splice");
        assert!(!said.err.lines().any(is_ours), "{way:?}: {}", said.err);
    }
}

#[test]
fn what_splices_by_io_uring_gets_every_byte_by_the_stack() {
    let test = "what_splices_by_io_uring_gets_every_byte_by_the_stack";
    if !require_root(test) || !readers_are_seen(test) || !is_here(test) {
        return;
    }
    let place = Place::new();
    let running = place.run(&[]);
    let [front, back] = [free_port(), free_port()];
    let _echo = start(place.cgroup(), &format!("echo {back}"));
    let _proxy = start(place.cgroup(), &format!("proxy-uring {front} {back}"));
    let passes = |role: &str| start(place.cgroup(), role).wait().unwrap().success();
    for _ in 0..2 {
        assert!(passes(&format!("drive {front}")), "not every byte arrives");
        assert!(passes(&format!("stays-plain {front} {TRIPS}")), "a proxy that splices is accelerated");
    }
    // Without the proxy, the same run accelerates the same server.
    assert!(passes(&format!("until-trusted {back} {MOST}")), "nothing is accelerated, so this says nothing of splices");
    running.stop();
}
