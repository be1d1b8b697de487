//! A socket and what epoll watches it for.

use std::io;
use std::net::TcpStream;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

/// A socket under epoll's eyes, level-triggered.
#[derive(Debug)]
pub(super) struct Watched {
    /// The socket.
    pub(super) stream: TcpStream,
    token: u64,
    /// What it is registered for; empty when it is not registered at all.
    flags: EpollFlags,
}

impl Watched {
    /// Takes a socket; events about it will carry `token`.
    pub(super) fn new(stream: TcpStream, token: u64) -> Self {
        Self { stream, token, flags: EpollFlags::empty() }
    }

    /// Watches for these events from now on.
    ///
    /// A socket that waits for nothing is not registered: epoll reports EPOLLHUP even to who did not ask, and a loop
    /// that has nothing to do about it would spin.
    pub(super) fn watch(&mut self, epoll: &Epoll, input: bool, output: bool) -> io::Result<()> {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, input);
        flags.set(EpollFlags::EPOLLOUT, output);
        if flags == self.flags {
            return Ok(());
        }
        if self.flags.is_empty() {
            epoll.add(&self.stream, EpollEvent::new(flags, self.token))?;
        } else if flags.is_empty() {
            epoll.delete(&self.stream)?;
        } else {
            epoll.modify(&self.stream, &mut EpollEvent::new(flags, self.token))?;
        }
        self.flags = flags;
        Ok(())
    }
}
