//! A server that answers every byte with itself: the app, or a sidecar's end of a single hop.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;

use nix::sys::epoll::{Epoll, EpollFlags};

use super::flow::Flow;
use super::report::Report;
use super::server::{FIRST_CONNECTION, Service};
use super::watched::Watched;

/// The echo server's connections.
#[derive(Debug)]
pub(super) struct Echo {
    connections: HashMap<u64, (Watched, Flow)>,
    next: u64,
    report: Report,
}

impl Echo {
    pub(super) fn new() -> Self {
        Self { connections: HashMap::new(), next: FIRST_CONNECTION, report: Report::default() }
    }

    /// Ends all connections and sums up.
    pub(super) fn finish(mut self) -> io::Result<Report> {
        for (socket, flow) in self.connections.values() {
            self.report.downstream.add(socket, flow.written())?;
        }
        Ok(self.report)
    }
}

impl Service for Echo {
    fn accepted(&mut self, epoll: &Epoll, _listener: usize, stream: TcpStream) -> io::Result<()> {
        let token = self.next;
        self.next += 1;
        let mut socket = Watched::new(stream, token);
        socket.watch(epoll, true, false)?;
        self.connections.insert(token, (socket, Flow::new()));
        Ok(())
    }

    fn event(&mut self, epoll: &Epoll, token: u64, flags: EpollFlags) -> io::Result<()> {
        let Some((socket, flow)) = self.connections.get_mut(&token) else { return Ok(()) };
        let readable = flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let failed = flow.advance(&socket.stream, &socket.stream, readable).is_err();
        if failed || flow.is_finished() {
            self.report.failed += u64::from(failed);
            self.report.downstream.add(socket, flow.written())?;
            self.connections.remove(&token);
            return Ok(());
        }
        socket.watch(epoll, flow.wants_input(), flow.has_output())
    }
}
