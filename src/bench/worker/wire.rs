//! A byte stream between the ends, used as an event-driven proxy uses its sockets: O_NONBLOCK, epoll before a read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::pinned::{self, Left};
use crate::testbed::{self, StackBytes};

/// Longer than any wait of a pair that works; the parent gives up at about the same time.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The stream.
pub(super) struct Wire {
    input: File,
    output: File,
    is_tcp: bool,
    epoll: Epoll,
    written: u64,
}

impl Wire {
    /// Over a connected socket.
    pub(super) fn of(stream: TcpStream, nagle: bool) -> io::Result<Self> {
        stream.set_nodelay(!nagle)?;
        Self::new(stream.try_clone()?.into(), stream.into(), true)
    }

    /// Over descriptors that the parent has left open; the caller must not use them elsewhere.
    pub(super) fn inherited(read: RawFd, write: RawFd) -> io::Result<Self> {
        let own = |fd: RawFd| -> io::Result<OwnedFd> {
            // SAFETY: the descriptor is only borrowed for the duration of the call, which fails if it is not open.
            Ok(nix::unistd::dup(unsafe { BorrowedFd::borrow_raw(fd) })?)
        };
        let (input, output) = (own(read)?, own(write)?);
        // The parent's copies, so that the end of one process is the end of the stream for the other.
        // SAFETY: nothing else in this process knows these descriptors.
        drop(unsafe { OwnedFd::from_raw_fd(read) });
        if write != read {
            // SAFETY: as above.
            drop(unsafe { OwnedFd::from_raw_fd(write) });
        }
        Self::new(input, output, false)
    }

    fn new(input: OwnedFd, output: OwnedFd, is_tcp: bool) -> io::Result<Self> {
        for fd in [&input, &output] {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&input, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self { input: input.into(), output: output.into(), is_tcp, epoll, written: 0 })
    }

    /// Waits for bytes and reads what there is.
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut events = [EpollEvent::empty()];
            match self.epoll.wait(&mut events, EpollTimeout::try_from(TIMEOUT).unwrap_or(EpollTimeout::NONE)) {
                Ok(0) => return Err(io::Error::other("no byte came; traffic is stuck")),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => {}
            }
            match self.input.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if waits(&error) => continue,
                done => return done,
            }
        }
    }

    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += self.read_some(&mut buffer[filled..])?;
        }
        Ok(())
    }

    /// Reads `count` bytes and forgets them.
    pub(super) fn read_through(&mut self, scratch: &mut [u8], mut count: u64) -> io::Result<()> {
        while count > 0 {
            let most = scratch.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            count -= self.read_some(&mut scratch[..most])? as u64;
        }
        Ok(())
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if waits(&error) => wait(&self.output, PollFlags::POLLOUT)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes until no more is taken.
    pub(super) fn fill(&self, message: &[u8]) -> io::Result<Left> {
        pinned::fill(&self.output, message)
    }

    /// Memory of what waits to be read.
    pub(super) fn held(&self) -> io::Result<u64> {
        pinned::received(&self.input)
    }

    /// Bytes written, and those that the TCP/IP stack carried.
    pub(super) fn sent(&self) -> io::Result<(u64, u64)> {
        Ok((self.written, if self.is_tcp { StackBytes::of(&self.output)?.sent } else { 0 }))
    }
}

pub(super) fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Waits for one of the events.
pub(super) fn wait(fd: impl AsFd, events: PollFlags) -> io::Result<()> {
    loop {
        let timeout = PollTimeout::try_from(TIMEOUT).unwrap_or(PollTimeout::NONE);
        match poll(&mut [PollFd::new(fd.as_fd(), events)], timeout) {
            Ok(0) => return Err(io::Error::other("nothing happened on a socket; traffic is stuck")),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// A listener, O_NONBLOCK.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    testbed::listen(address)
        .map_err(|error| io::Error::new(error.kind(), format!("it cannot listen on {address} ({error})")))
}

/// The next connection, O_NONBLOCK from the start.
pub(super) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        if let Some(stream) = testbed::accept(listener)? {
            return Ok(stream);
        }
        wait(listener, PollFlags::POLLIN)?;
    }
}

/// A connection, O_NONBLOCK from the start.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = testbed::connect(address, None)?;
    wait(&stream, PollFlags::POLLOUT)?;
    match stream.take_error()? {
        Some(error) => Err(io::Error::new(error.kind(), format!("it cannot connect to {address} ({error})"))),
        None => Ok(stream),
    }
}
