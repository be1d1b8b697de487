//! A closed-loop client: on each connection one request at a time, every byte of every answer checked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sidestep::testbed;

/// What the app answers at `/`: see app.sh.
const BODY: &[u8] = b"a static body of about a hundred bytes, which is small enough for a single segment of TCP\n";
/// Nothing here takes as long; what does has stalled.
const STALL: Duration = Duration::from_secs(180);

/// What the app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// A GET of a small body.
    Http,
    /// SET and GET in turns, of a value that no other client has.
    Redis,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Whom it calls.
    pub(crate) target: SocketAddr,
    pub(crate) protocol: Protocol,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// A connection for each request.
    pub(crate) short: bool,
}

/// Connections and their state.
#[derive(Debug)]
pub(crate) struct Client {
    load: Load,
    epoll: Epoll,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: Option<TcpStream>,
    /// Requests so far, the current one included.
    number: u64,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    started: Instant,
}

impl Client {
    /// A client that has not called anybody yet. Its sockets will belong to the network namespace and the cgroup in
    /// which [`run`](Self::run) is called.
    pub(crate) fn new(load: Load) -> io::Result<Self> {
        let connection = || Connection {
            socket: None,
            number: 0,
            request: Vec::new(),
            sent: 0,
            answer: Vec::new(),
            started: Instant::now(),
        };
        let connections = (0..load.connections).map(|_| connection()).collect();
        Ok(Self { load, epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, connections })
    }

    /// Asks on each connection until `enough`, which is given the number of answers the connection has had in this run.
    /// The answer is every request's latency, in ns; that of a new connection includes its opening.
    pub(crate) fn run(&mut self, enough: impl Fn(u64) -> bool) -> io::Result<Vec<u64>> {
        let Self { load, epoll, connections } = self;
        let mut latencies = Vec::new();
        let first: Vec<u64> = connections.iter().map(|connection| connection.number).collect();
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.ask(load, epoll, index)?;
        }
        let mut busy = connections.len();
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(STALL).map_err(|_| ErrorKind::InvalidInput)?;
        while busy > 0 {
            let ready = match epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => continue,
                Ok(0) => {
                    return Err(io::Error::other(format!("no answer for {} s: traffic is stuck", STALL.as_secs())));
                }
                done => done?,
            };
            for event in &events[..ready] {
                let index = event.data() as usize;
                let connection = &mut connections[index];
                let number = connection.number;
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("connection {index}, request {number}: {error}"))
                };
                let answered = connection.event(load, epoll, index, event.events());
                if answered.map_err(named)? {
                    latencies.push(connection.started.elapsed().as_nanos() as u64);
                    if enough(connection.number - first[index]) {
                        busy -= 1;
                    } else {
                        connection.ask(load, epoll, index)?;
                    }
                }
            }
        }
        Ok(latencies)
    }
}

impl Connection {
    /// Begins the next request, on a new connection if there is none.
    fn ask(&mut self, load: &Load, epoll: &Epoll, index: usize) -> io::Result<()> {
        self.number += 1;
        self.request = request(load, index, self.number);
        (self.sent, self.started) = (0, Instant::now());
        self.answer.clear();
        if self.socket.is_none() {
            let socket = testbed::connect(load.target, None)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLIN, index as u64))?;
            self.socket = Some(socket);
            return Ok(());
        }
        if !self.send()? {
            let flags = EpollFlags::EPOLLOUT | EpollFlags::EPOLLIN;
            epoll.modify(self.socket()?, &mut EpollEvent::new(flags, index as u64))?;
        }
        Ok(())
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        self.socket.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Whether everything is sent.
    fn send(&mut self) -> io::Result<bool> {
        while self.sent < self.request.len() {
            match self.socket()?.write(&self.request[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the answer is complete (and right).
    fn event(&mut self, load: &Load, epoll: &Epoll, index: usize, flags: EpollFlags) -> io::Result<bool> {
        if flags.contains(EpollFlags::EPOLLOUT) && self.send()? {
            epoll.modify(self.socket()?, &mut EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        if !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return Ok(false);
        }
        let mut bytes = [0; 4096];
        match self.socket()?.read(&mut bytes) {
            Ok(0) => {
                let got = String::from_utf8_lossy(&self.answer);
                return Err(io::Error::other(format!("the connection was closed after the answer {got:?}")));
            }
            Ok(length) => self.answer.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let keep = match load.protocol {
            Protocol::Http => http(&self.answer)?,
            Protocol::Redis => redis(&self.answer, &expected(index, self.number))?,
        };
        if keep == Some(false) || keep.is_some() && load.short {
            // Closing takes it out of epoll's set.
            self.socket = None;
        }
        Ok(keep.is_some())
    }
}

fn request(load: &Load, index: usize, number: u64) -> Vec<u8> {
    match load.protocol {
        Protocol::Http if load.short => b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n".to_vec(),
        Protocol::Http => b"GET / HTTP/1.1\r\nHost: app\r\n\r\n".to_vec(),
        Protocol::Redis => {
            let key = format!("key{index:05}");
            if number % 2 == 1 {
                let value = value(index, number);
                format!("*3\r\n$3\r\nSET\r\n$8\r\n{key}\r\n$64\r\n{value}\r\n").into_bytes()
            } else {
                format!("*2\r\n$3\r\nGET\r\n$8\r\n{key}\r\n").into_bytes()
            }
        }
    }
}

/// 64 bytes that no other request sets.
fn value(index: usize, number: u64) -> String {
    format!("{index:032}{number:032}")
}

/// Redis's whole answer.
fn expected(index: usize, number: u64) -> Vec<u8> {
    if number % 2 == 1 { b"+OK\r\n".to_vec() } else { format!("$64\r\n{}\r\n", value(index, number - 1)).into_bytes() }
}

/// Checks an answer of Redis as far as it has come; `Some` when it is complete.
fn redis(answer: &[u8], expected: &[u8]) -> io::Result<Option<bool>> {
    if !expected.starts_with(answer) {
        let (got, wanted) = (String::from_utf8_lossy(answer), String::from_utf8_lossy(expected));
        return Err(io::Error::other(format!("the answer is {got:?} instead of {wanted:?}")));
    }
    Ok((answer.len() == expected.len()).then_some(true))
}

/// Checks an answer of the HTTP app as far as it has come; when it is complete: whether the connection stays.
fn http(answer: &[u8]) -> io::Result<Option<bool>> {
    let wrong = || io::Error::other(format!("the answer is {:?}", String::from_utf8_lossy(answer)));
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    if !head.starts_with(b"HTTP/1.1 200 OK\r\n") || !BODY.starts_with(body) {
        return Err(wrong());
    }
    if body.len() < BODY.len() {
        return Ok(None);
    }
    // nginx writes it in capitals, Envoy in small letters.
    Ok(Some(!head.to_ascii_lowercase().windows(19).any(|window| window == b"\r\nconnection: close")))
}
