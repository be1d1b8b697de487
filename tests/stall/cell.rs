//! One connection of the grid: its receiver pauses while its sender writes, and then reads everything.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::Epoll;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use sidestep::testbed::{Addresses, NetNs, Pods, StackBytes, connect, listen};

use crate::feature::Feature;
use crate::link::{ANY_PORT, accepted, back_and_forth, expect, pattern, send, wait};
use crate::memory::Pinned;
use crate::reader::Reader;
use crate::refuser;
use crate::support::wait::scaled;

/// Much longer than an armed receiver waits between two packets (`membership::wake_reader`), after which its buffer must be as it was.
const SETTLES: Duration = Duration::from_secs(10);

/// How the two ends are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Loopback,
    Veth,
}

/// The places in which connections of both ways are made.
pub(crate) struct Places {
    alone: NetNs,
    pods: Pods,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { alone: NetNs::with_loopback().unwrap(), pods: Pods::without_sidecars().unwrap() }
    }
}

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) way: Way,
    pub(crate) reader: Reader,
    /// SO_RCVBUF of the receiver.
    pub(crate) buffer: Option<usize>,
    /// Bytes of each write.
    pub(crate) write: usize,
    /// Whether the stack has brought the receiver bytes before, so that it has offered a large window.
    pub(crate) grown: bool,
    pub(crate) pause: Duration,
    /// TCP_KEEPCNT of the receiver, which must not matter: it has not asked for keepalive.
    pub(crate) probes: Option<u32>,
}

impl Cell {
    /// Bytes to be sent: more than the buffers of plain TCP take.
    pub(crate) fn total(&self) -> usize {
        match self.way {
            Way::Loopback => 4_700_000,
            Way::Veth => 2_000_000,
        }
    }

    /// Whether its pair may stay in the sockhash while it carries a stream.
    pub(crate) fn stays(&self) -> bool {
        self.reader == Reader::Level && self.buffer.is_none()
    }

    pub(crate) fn connect(self, places: &Places, port: u16) -> Connection {
        let (here, there, address) = match self.way {
            Way::Loopback => (&places.alone, &places.alone, ANY_PORT),
            Way::Veth => (&places.pods.client, &places.pods.server, SocketAddr::new(Addresses::V4.server_pod, 0)),
        };
        let address = SocketAddr::new(address.ip(), port);
        let listener = there.run(|| listen(address).unwrap()).unwrap();
        if let Some(bytes) = self.buffer {
            setsockopt(&listener, sockopt::RcvBuf, &bytes).unwrap();
        }
        if let Some(probes) = self.probes {
            setsockopt(&listener, sockopt::TcpKeepCount, &probes).unwrap();
        }
        let client = here.run(|| connect(listener.local_addr().unwrap(), None).unwrap()).unwrap();
        wait(&client, PollFlags::POLLOUT);
        let server = accepted(&listener);
        if self.grown {
            back_and_forth(&client, &server, &[7], 2);
            // As one message, too large for any buffer here to be redirected.
            let bytes = pattern(12, 400_000);
            for _ in 0..5 {
                send_and_expect(&client, &server, &bytes);
            }
        }
        let epoll = self.reader.watch(&server);
        let buffer = getsockopt(&server, sockopt::RcvBuf).unwrap();
        let before = StackBytes::of(&client).unwrap().sent;
        Connection { cell: self, client, server, epoll, before, buffer, sent: AtomicUsize::new(0) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buffer = self.buffer.map_or("default".into(), |bytes| format!("{} KiB", bytes >> 10));
        write!(out, "{:?}, {:?}, SO_RCVBUF {buffer}, writes of {}, ", self.way, self.reader, self.write)?;
        if self.grown {
            write!(out, "a large window, ")?;
        }
        write!(out, "pause {} s", self.pause.as_secs())
    }
}

/// Sends more at once than the buffers hold.
fn send_and_expect(client: &TcpStream, server: &TcpStream, bytes: &[u8]) {
    std::thread::scope(|threads| {
        threads.spawn(|| send(client, bytes));
        expect(server, bytes);
    });
}

/// A cell's two ends.
pub(crate) struct Connection {
    cell: Cell,
    client: TcpStream,
    server: TcpStream,
    epoll: Epoll,
    /// Bytes that the stack has carried before.
    before: u64,
    /// SO_RCVBUF of the receiver before.
    buffer: usize,
    sent: AtomicUsize,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// What the kernel held when the pause was over.
    pub(crate) memory: Pinned,
    /// From the end of the pause to the last byte.
    pub(crate) late: Result<Duration, String>,
    /// SO_RCVBUF of the receiver when all is over: it must not stay small.
    pub(crate) buffer: usize,
    /// Whether the size of this buffer is fixed, although its application has not set it.
    pub(crate) fixed: bool,
    /// How the sender failed.
    pub(crate) sender: Option<String>,
}

impl Connection {
    /// Both ends, side by side; the receiver's pause ends at `start` and the pause of the cell.
    pub(crate) fn run(&self, bytes: &[u8], start: Instant, charged: bool) -> Outcome {
        let bytes = &bytes[..self.cell.total()];
        std::thread::scope(|threads| {
            let sender = threads.spawn(|| self.send(bytes));
            std::thread::sleep((start + self.cell.pause).saturating_duration_since(Instant::now()));
            let sent = self.sent.load(Ordering::Acquire);
            let memory = Pinned::by(&self.client, &self.server, self.before, sent, self.cell.write, charged);
            let late = self.cell.reader.read_all(&self.server, &self.epoll, bytes);
            if late.is_err() {
                // The sender must not wait for a receiver that has given up.
                let _ = self.server.shutdown(std::net::Shutdown::Both);
                let _ = self.client.shutdown(std::net::Shutdown::Both);
            }
            let sender = sender.join().unwrap().err();
            let fixed =
                self.cell.buffer.is_none() && Feature::SocketOptions.is_here() && refuser::is_fixed(&self.server);
            Outcome { memory, late, buffer: self.settled_buffer(), fixed, sender }
        })
    }

    /// SO_RCVBUF of the receiver when it is what it was, or when it should long have been.
    fn settled_buffer(&self) -> usize {
        let start = Instant::now();
        loop {
            let buffer = getsockopt(&self.server, sockopt::RcvBuf).unwrap();
            if buffer >= self.buffer || start.elapsed() > scaled(SETTLES) {
                return buffer;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let mut at = 0;
        while at < bytes.len() {
            match { &self.client }.write(&bytes[at..(at + self.cell.write).min(bytes.len())]) {
                Ok(written) => {
                    at += written;
                    self.sent.store(at, Ordering::Release);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.client.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(500_u16))
                        .unwrap();
                }
                Err(error) => return Err(format!("send: {error} after {at} bytes")),
            }
        }
        self.client.shutdown(std::net::Shutdown::Write).map_err(|error| format!("shutdown: {error}"))
    }
}
