//! The non-blocking server: all its connections in one loop.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use sidestep::testbed::accept;

use super::plan::{HEADER, Header, Kind, VERIFIED};
use crate::link::pattern;
use crate::support::wait::timeout;

/// A server stops reading while it has this much to echo.
const PENDING: usize = 256 << 10;

/// Makes closing the socket send RST.
pub(super) fn reset_on_close(stream: &TcpStream) {
    setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
}

/// Serves until the clients are done.
pub(super) fn serve(listeners: &[TcpListener], done: &AtomicBool) {
    let mut open: HashMap<i32, Served> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    while !done.load(Ordering::Relaxed) {
        let mut fds: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
        fds.extend(open.values().map(|served| PollFd::new(served.stream.as_fd(), served.wants())));
        poll(&mut fds, PollTimeout::from(20_u8)).unwrap();
        let ready: Vec<i32> = fds.iter().filter(|fd| fd.any() == Some(true)).map(|fd| fd.as_fd().as_raw_fd()).collect();
        drop(fds);
        for fd in ready {
            if let Some(served) = open.get_mut(&fd) {
                if !served.advance(&mut buffer) {
                    open.remove(&fd);
                }
            } else if let Some(listener) = listeners.iter().find(|listener| listener.as_raw_fd() == fd) {
                while let Some(stream) = accept(listener).unwrap() {
                    open.insert(stream.as_raw_fd(), Served::new(stream));
                }
            }
        }
        if let Some(stuck) = open.values().find(|served| served.since.elapsed() > timeout()) {
            panic!("hung: {:?} after {} bytes", stuck.header, stuck.received);
        }
    }
}

struct Served {
    stream: TcpStream,
    start: Vec<u8>,
    header: Option<Header>,
    /// Bytes after the header.
    received: usize,
    /// What an upload must be.
    expected: Vec<u8>,
    pending: Vec<u8>,
    ended: bool,
    since: Instant,
}

impl Served {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            start: Vec::new(),
            header: None,
            received: 0,
            expected: Vec::new(),
            pending: Vec::new(),
            ended: false,
            since: Instant::now(),
        }
    }

    fn wants(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.ended && self.pending.len() < PENDING);
        flags.set(PollFlags::POLLOUT, !self.pending.is_empty());
        flags
    }

    /// False when the connection is over.
    fn advance(&mut self, buffer: &mut [u8]) -> bool {
        self.since = Instant::now();
        if !self.ended && self.pending.len() < PENDING {
            match self.stream.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(read) => self.take(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        match self.header.map(|header| header.kind) {
            Some(Kind::ServerResets) => {
                reset_on_close(&self.stream);
                return false;
            }
            Some(Kind::Download) if !self.ended => drop(self.stream.shutdown(Shutdown::Write)),
            _ => {}
        }
        !self.ended
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let header = match self.header {
            Some(header) => header,
            None => {
                let missing = (HEADER - self.start.len()).min(bytes.len());
                self.start.extend_from_slice(&bytes[..missing]);
                bytes = &bytes[missing..];
                if self.start.len() < HEADER {
                    return;
                }
                let header = Header::from_bytes(&self.start);
                match header.kind {
                    Kind::Upload => self.expected = pattern(header.seed, header.length),
                    Kind::Download | Kind::ServerResets => self.pending = pattern(header.seed, header.length),
                    _ => {}
                }
                *self.header.insert(header)
            }
        };
        match header.kind {
            Kind::Upload => {
                assert!(
                    self.expected[self.received..].starts_with(bytes),
                    "{header:?}: reordered or foreign bytes at {}",
                    self.received
                );
                if self.received + bytes.len() == header.length {
                    self.pending.push(VERIFIED);
                }
            }
            Kind::Download | Kind::ServerResets => assert!(bytes.is_empty(), "{header:?}: bytes after the header"),
            _ => self.pending.extend_from_slice(bytes),
        }
        self.received += bytes.len();
    }
}
