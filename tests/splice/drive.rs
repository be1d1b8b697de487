//! The client: round trips and transfers whose every byte it knows.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use sidestep::testbed::StackBytes;

use crate::relay::{connect, receive, send};
use crate::support::wait::wait_until;

/// What is sent: 10 times 1 KB, each when the one before is back, then 1 MB and 4 MB at once, then the end.
const ROUNDS: usize = 10;
const SMALL: usize = 1_000;
const LARGE: [usize; 2] = [1_000_000, 4_000_000];

/// Bytes that are like no others.
pub(crate) fn pattern(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(next).collect()
}

/// Receives as many bytes as `wanted` has, and compares.
fn expect(socket: &TcpStream, wanted: &[u8]) -> io::Result<()> {
    let mut got = vec![0; wanted.len()];
    let mut len = 0;
    while len < got.len() {
        match receive(socket, &mut got[len..])? {
            0 => return Err(io::Error::other(format!("the end after {len} of {} bytes", wanted.len()))),
            more => len += more,
        }
    }
    let first = got.iter().zip(wanted).position(|(a, b)| a != b);
    first.map_or(Ok(()), |at| Err(io::Error::other(format!("another byte than was sent at {at} of {len}"))))
}

/// Asks an HTTP proxy for a tunnel.
fn tunnel(socket: &TcpStream) {
    send(socket, b"CONNECT echo:1 HTTP/1.1\r\nHost: echo\r\n\r\n").unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(receive(socket, &mut byte).unwrap(), 1, "the proxy has answered {answer:?}");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// What the proxy is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes on the end of one direction, and goes on with the other.
    HalfClose,
    /// The same, and asks for an HTTP request first.
    Tunnel,
    /// The end of one direction ends both, as with systemd-socket-proxyd: plain TCP loses the other's bytes as well.
    Whole,
}

/// Role: one connection to `port`, behind which an echo server is.
pub(crate) fn run(port: u16, way: Way) {
    let socket = connect(port);
    if way == Way::Tunnel {
        tunnel(&socket);
    }
    // Other people's proxies may make their sockets non-blocking when they have accepted them.
    std::thread::sleep(Duration::from_millis(100));
    all_of_it(&socket, way);
}

/// Everything that is sent, and the end.
fn all_of_it(socket: &TcpStream, way: Way) {
    for round in 0..ROUNDS {
        let bytes = pattern(round, SMALL);
        send(socket, &bytes).unwrap();
        expect(socket, &bytes).unwrap_or_else(|error| panic!("round trip {round}: {error}"));
    }
    let all: Vec<u8> = LARGE.into_iter().flat_map(|len| pattern(len, len)).collect();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            send(socket, &all).unwrap();
            if way != Way::Whole {
                socket.shutdown(Shutdown::Write).unwrap();
            }
        });
        expect(socket, &all).unwrap_or_else(|error| panic!("transfer: {error}"));
        sender.join().unwrap();
    });
    if way == Way::Whole {
        socket.shutdown(Shutdown::Write).unwrap();
    }
    let mut space = [0; 1];
    assert_eq!(receive(socket, &mut space).unwrap(), 0, "bytes behind the end");
}

/// Role: so many round trips of 1 KB on one connection.
pub(crate) fn pings(port: u16, count: usize) {
    let socket = connect(port);
    for round in 0..count {
        ping(&socket, round);
    }
}

/// Role: so many connections with one round trip each, one after the other. Each ends when the server has closed it, too.
pub(crate) fn shorts(port: u16, count: usize) {
    for round in 0..count {
        let socket = connect(port);
        ping(&socket, round);
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive(&socket, &mut [0; 1]).unwrap(), 0, "bytes behind the end");
    }
}

/// One round trip of 1 KB.
pub(crate) fn ping(socket: &TcpStream, round: usize) {
    let bytes = pattern(round, SMALL);
    send(socket, &bytes).unwrap();
    expect(socket, &bytes).unwrap_or_else(|error| panic!("round trip {round}: {error}"));
}

/// Role: the same, until what this end sends goes past the stack: after `most` round trips at the latest. The agent has time
/// of `pause` between them to admit both processes.
pub(crate) fn until_trusted(port: u16, most: usize, pause: Duration) {
    become_trusted(&connect(port), most, pause);
}

/// Role: the same, and then so many round trips more, and what [`run`] sends, on the same connection.
pub(crate) fn trusted(port: u16, most: usize, pause: Duration, more: usize) {
    let socket = connect(port);
    become_trusted(&socket, most, pause);
    (0..more).for_each(|round| ping(&socket, round));
    all_of_it(&socket, Way::HalfClose);
}

/// Role: the same, and then so many round trips more; how many these were altogether.
pub(crate) fn earns(port: u16, most: usize, pause: Duration, more: usize) -> usize {
    let socket = connect(port);
    let trips = become_trusted(&socket, most, pause);
    (0..more).for_each(|round| ping(&socket, round));
    trips + more
}

/// Role: so many connections that say nothing until `gate` exists, and then each the same as [`until_trusted`].
pub(crate) fn kept(port: u16, count: usize, most: usize, pause: Duration, gate: &Path) {
    let sockets: Vec<TcpStream> = (0..count).map(|_| connect(port)).collect();
    wait_until("the gate opens", || gate.exists());
    sockets.iter().for_each(|socket| _ = become_trusted(socket, most, pause));
}

/// How many round trips it took.
fn become_trusted(socket: &TcpStream, most: usize, pause: Duration) -> usize {
    for round in 0..most {
        let before = StackBytes::of(socket).unwrap().sent;
        ping(socket, round);
        if StackBytes::of(socket).unwrap().sent == before {
            return round + 1;
        }
        std::thread::sleep(pause);
    }
    panic!("all of {most} round trips took the stack");
}
