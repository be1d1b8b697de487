//! The ways in which programs read a socket that does not block.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Bytes a read asks for, as many proxies do (nginx 16 KiB, Envoy 16 KiB).
const READ: usize = 16 << 10;
/// How long a reader waits for anything, in milliseconds. Plain TCP's longest silence here is that of a sender whose packet found no
/// room: `TCP_RTO_MAX` (include/net/tcp.h) is two minutes.
const SILENCE: i32 = 125_000;

/// When a reader goes back to epoll_wait(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Level-triggered: after each read.
    Level,
    /// Edge-triggered: when a read says EAGAIN.
    Edge,
    /// Edge-triggered: when a read returns less than it asked for, as nginx and tokio do, unless an event has announced
    /// the end.
    ShortEdge,
}

impl Reader {
    pub(crate) const ALL: [Self; 3] = [Self::Level, Self::Edge, Self::ShortEdge];

    /// Watches `socket` from now on.
    pub(crate) fn watch(self, socket: &TcpStream) -> Epoll {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = if self == Self::Level { EpollFlags::empty() } else { EpollFlags::EPOLLET };
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | edge, 0)).unwrap();
        epoll
    }

    /// Reads `expected` and the end of the stream: how long the bytes took, or how it went wrong.
    pub(crate) fn read_all(self, socket: &TcpStream, epoll: &Epoll, expected: &[u8]) -> Result<Duration, String> {
        let begin = Instant::now();
        let mut buffer = vec![0; READ];
        let (mut got, mut last, mut end_announced) = (0, Duration::ZERO, false);
        loop {
            let mut events = [EpollEvent::empty()];
            if epoll.wait(&mut events, EpollTimeout::try_from(SILENCE).unwrap()).unwrap() == 0 {
                return Err(format!("stalls after {got} of {} bytes", expected.len()));
            }
            end_announced |= events[0].events().contains(EpollFlags::EPOLLRDHUP);
            loop {
                match { socket }.read(&mut buffer) {
                    Ok(0) if got == expected.len() => return Ok(last),
                    Ok(0) => return Err(format!("ends after {got} of {} bytes", expected.len())),
                    Ok(read) => {
                        if !expected[got..].starts_with(&buffer[..read]) {
                            return Err(format!("other bytes at {got}"));
                        }
                        got += read;
                        last = begin.elapsed();
                        if self == Self::Level || self == Self::ShortEdge && read < READ && !end_announced {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(format!("{error} after {got} of {} bytes", expected.len())),
                }
            }
        }
    }
}
