//! A closed-loop client: on each connection one request at a time, every byte of every answer checked.

use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};

use super::flow::ready;
use super::pattern::Pattern;
use super::report::{Event, Latency, Report};
use super::server::wait;
use super::socket::connect;
use super::watched::Watched;

/// What a client does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// Whom it calls; an echo server answers there.
    pub target: SocketAddr,
    /// From where; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// Connections at a time.
    pub connections: u32,
    /// Requests on each connection before measuring starts.
    pub warm_up: u64,
    /// Measured requests on each connection.
    pub requests: u64,
    /// Bytes of a request and of its answer; at least 1.
    pub size: u64,
    /// Chooses the content.
    pub seed: u64,
}

/// One connection and how far it has come.
struct Connection {
    socket: Watched,
    pattern: Pattern,
    /// Bytes of the stream that are sent, and received and found right.
    sent: u64,
    received: u64,
    /// Where in the stream the current request ends.
    request_end: u64,
    started: Instant,
}

/// Runs the workload: warms up, waits for a line on `control`, measures, closes in good order.
pub(super) fn run(
    workload: &Workload,
    control: &mut impl BufRead,
    mut tell: impl FnMut(&Event) -> io::Result<()>,
) -> io::Result<Report> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut client = Client { epoll, connections: Vec::new(), size: workload.size.max(1), scratch: vec![0; 64 << 10] };
    for index in 0..workload.connections {
        client.open(workload, index)?;
    }
    client.request(workload.warm_up)?;
    tell(&Event::Ready)?;
    if control.read_line(&mut String::new())? == 0 {
        return Err(io::Error::other("its parent has gone"));
    }
    let started = Instant::now();
    let each = client.request(workload.requests)?;
    tell(&Event::Measured(Latency::of(each, started.elapsed().as_nanos() as u64)))?;
    client.close()
}

struct Client {
    epoll: Epoll,
    connections: Vec<Connection>,
    size: u64,
    scratch: Vec<u8>,
}

impl Client {
    fn open(&mut self, workload: &Workload, index: u32) -> io::Result<()> {
        let stream = connect(workload.target, workload.source).map_err(|error| {
            io::Error::new(error.kind(), format!("it cannot connect to {} ({error})", workload.target))
        })?;
        let mut socket = Watched::new(stream, index.into());
        socket.watch(&self.epoll, true, true)?;
        self.connections.push(Connection {
            socket,
            pattern: Pattern::new(workload.seed.wrapping_add(u64::from(index) << 32)),
            sent: 0,
            received: 0,
            request_end: 0,
            started: Instant::now(),
        });
        Ok(())
    }

    /// Does `count` requests on every connection. The answer is every request's latency, ns.
    fn request(&mut self, count: u64) -> io::Result<Vec<u64>> {
        let mut each = Vec::with_capacity((count as usize).saturating_mul(self.connections.len()).min(1 << 24));
        if count == 0 {
            return Ok(each);
        }
        let size = self.size;
        let goal = self.connections.first().map_or(0, |first| first.received + count * size);
        for connection in &mut self.connections {
            connection.next_request(size);
            connection.socket.watch(&self.epoll, true, true)?;
        }
        let mut busy = self.connections.len();
        let mut events = [EpollEvent::empty(); 64];
        while busy > 0 {
            let ready = wait(&self.epoll, &mut events)?;
            for event in &events[..ready] {
                let index = event.data() as usize;
                let connection = &mut self.connections[index];
                let name = |error: io::Error| io::Error::new(error.kind(), format!("connection {index}: {error}"));
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    connection.send().map_err(name)?;
                }
                if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                    connection.receive(&mut self.scratch).map_err(name)?;
                }
                if connection.received == connection.request_end {
                    each.push(connection.started.elapsed().as_nanos() as u64);
                    if connection.received == goal {
                        busy -= 1;
                    } else {
                        connection.next_request(size);
                        connection.send().map_err(name)?;
                    }
                }
                connection.socket.watch(&self.epoll, true, connection.sent < connection.request_end)?;
            }
        }
        Ok(each)
    }

    /// Ends every connection and waits for the peer to do so too: half-close must travel the whole way.
    fn close(mut self) -> io::Result<Report> {
        let mut report = Report::default();
        for connection in &mut self.connections {
            connection.socket.watch(&self.epoll, false, false)?;
        }
        for connection in &mut self.connections {
            connection.socket.stream.shutdown(Shutdown::Write)?;
            let mut events = [EpollEvent::empty()];
            let mut open = true;
            connection.socket.watch(&self.epoll, true, false)?;
            while open {
                match ready((&connection.socket.stream).read(&mut self.scratch))? {
                    Some(0) => open = false,
                    Some(_) => return Err(io::Error::other("it received bytes that were never sent")),
                    None => {
                        wait(&self.epoll, &mut events)?;
                    }
                }
            }
            connection.socket.watch(&self.epoll, false, false)?;
            report.upstream.add(&connection.socket, connection.sent)?;
        }
        Ok(report)
    }
}

impl Connection {
    fn next_request(&mut self, size: u64) {
        self.request_end += size;
        self.started = Instant::now();
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.request_end {
            let bytes = self.pattern.at(self.sent, self.request_end - self.sent);
            let Some(length) = ready((&self.socket.stream).write(bytes))? else { break };
            self.sent += length as u64;
        }
        Ok(())
    }

    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let Some(length) = ready((&self.socket.stream).read(scratch))? else { return Ok(()) };
        if length == 0 {
            return Err(io::Error::other(format!("it was closed after {} bytes", self.received)));
        }
        let got = &scratch[..length];
        if self.received + length as u64 > self.sent {
            return Err(io::Error::other(format!("more bytes came back than the {} that were sent", self.sent)));
        }
        let expected = self.pattern.at(self.received, length as u64);
        if let Some(at) = (got != expected).then(|| got.iter().zip(expected).position(|(a, b)| a != b)).flatten() {
            return Err(io::Error::other(format!(
                "byte {} came back as {:#04x} instead of {:#04x}",
                self.received + at as u64,
                got[at],
                expected[at]
            )));
        }
        self.received += length as u64;
        Ok(())
    }
}
