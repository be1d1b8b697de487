//! Checked streams over many connections: every byte says where it belongs.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use sidestep::testbed::{StackBytes, accept, connect, listen};

use crate::support::link::{pattern, wait};
use crate::support::machine::scale;
use crate::support::wait::timeout;

/// Period of the content: a prime, so that a shift by any power of two shows.
const PERIOD: usize = 65_521;

/// Sizes of writes, in turn.
const SIZES: [usize; 6] = [64, 900, 4096, 7, 16_384, 1500];

/// One period and one write more, so that each write is one piece.
fn content() -> Vec<u8> {
    let mut bytes = pattern(7, PERIOD);
    bytes.extend_from_within(..16_384);
    bytes
}

/// A connection between two non-blocking sockets of this process: (client, server). The server has greeted: where FIONREAD
/// does not see redirected bytes, an end that no epoll instance watches gets none until it has sent something.
pub(crate) fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = connect(listener.local_addr().unwrap(), None).unwrap();
    wait(listener, PollFlags::POLLIN);
    let mut server = accept(listener).unwrap().unwrap();
    wait(&client, PollFlags::POLLOUT);
    server.write_all(b"!").unwrap();
    wait(&client, PollFlags::POLLIN);
    client.read_exact(&mut [0]).unwrap();
    (client, server)
}

/// A listener on a free port.
pub(crate) fn listener() -> TcpListener {
    listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap()
}

/// Connections that carry data until they are asked to end.
pub(crate) struct Streams {
    stop: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    writer: JoinHandle<Vec<u64>>,
    reader: JoinHandle<Vec<u64>>,
}

impl Streams {
    /// Opens `count` connections and starts: clients write, servers read and compare.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_on(&listener(), count)
    }

    /// The same with connections to this listener.
    pub(crate) fn start_on(listener: &TcpListener, count: usize) -> Self {
        let (clients, servers): (Vec<_>, Vec<_>) = (0..count).map(|_| pair(listener)).unzip();
        let (stop, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = std::thread::spawn({
            let stop = stop.clone();
            move || write_all(&clients, &stop)
        });
        let reader = std::thread::spawn({
            let carried = carried.clone();
            move || read_all(&servers, &carried)
        });
        Self { stop, carried, writer, reader }
    }

    /// Returns when another `bytes` have arrived, or on a slow machine a sixteenth of them.
    pub(crate) fn carry(&self, bytes: u64) {
        let bytes = if scale() < 1.0 { bytes / 16 } else { bytes };
        let (goal, start) = (self.carried.load(Ordering::Relaxed) + bytes, Instant::now());
        while self.carried.load(Ordering::Relaxed) < goal {
            assert!(start.elapsed() < timeout(), "hung: the streams carry nothing any more");
            assert!(!self.reader.is_finished(), "a stream has failed");
            sleep(Duration::from_millis(2));
        }
    }

    /// Ends all streams, and compares what came with what was sent.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.writer.join().expect("the writer has failed");
        let received = self.reader.join().expect("a reader has failed");
        assert_eq!(received, sent, "bytes received and bytes sent, by connection");
        assert!(sent.iter().all(|bytes| *bytes > 0), "a connection has carried nothing");
    }
}

/// Writes in turn to each client until asked to stop; returns how many bytes each has sent.
fn write_all(clients: &[TcpStream], stop: &AtomicBool) -> Vec<u64> {
    let content = content();
    let mut sent = vec![0_u64; clients.len()];
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        for (index, mut client) in clients.iter().enumerate() {
            turn += 1;
            let at = (sent[index] as usize + index) % PERIOD;
            match client.write(&content[at..at + SIZES[turn % SIZES.len()]]) {
                Ok(written) => sent[index] += written as u64,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "send: {error}"),
            }
        }
        // Two processors, and more to do on them than this.
        sleep(Duration::from_micros(300));
    }
    clients.iter().for_each(|client| client.shutdown(Shutdown::Write).unwrap());
    sent
}

/// Reads each server to its end; returns how many bytes each has received. Panics at the first wrong byte.
fn read_all(servers: &[TcpStream], carried: &AtomicU64) -> Vec<u64> {
    let content = content();
    let mut received = vec![0_u64; servers.len()];
    let mut open: Vec<usize> = (0..servers.len()).collect();
    let (mut buffer, mut last) = (vec![0; 16_384], Instant::now());
    while !open.is_empty() {
        let mut progress = 0;
        open.retain(|&index| {
            match (&servers[index]).read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    let at = (received[index] as usize + index) % PERIOD;
                    let wrong = buffer[..read].iter().zip(&content[at..]).position(|(got, wanted)| got != wanted);
                    if let Some(wrong) = wrong {
                        panic!("stream {index}: another byte than was sent at {}", received[index] + wrong as u64);
                    }
                    received[index] += read as u64;
                    progress += read;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "recv: {error}"),
            }
            true
        });
        carried.fetch_add(progress as u64, Ordering::Relaxed);
        if progress > 0 {
            last = Instant::now();
        } else {
            assert!(last.elapsed() < timeout(), "hung: {} streams do not end", open.len());
            sleep(Duration::from_micros(300));
        }
    }
    received
}

/// One quiet connection, to ask whether its messages skip the stack.
pub(crate) struct Probe {
    client: TcpStream,
    server: TcpStream,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self::on(&listener())
    }

    /// A connection to this listener.
    pub(crate) fn on(listener: &TcpListener) -> Self {
        let (client, server) = pair(listener);
        Self { client, server }
    }

    /// Sends messages one by one, and says whether the stack has sent fewer bytes. One or another may take the stack at
    /// any time, when the receiver is in the midst of something.
    pub(crate) fn is_redirected(&self) -> bool {
        let messages = 20;
        let before = StackBytes::of(&self.client).unwrap().sent;
        for number in 0..messages {
            (&self.client).write_all(&[number; 10]).unwrap();
            wait(&self.server, PollFlags::POLLIN);
            let mut bytes = [0; 11];
            assert_eq!((&self.server).read(&mut bytes).unwrap(), 10);
            assert_eq!(bytes[..10], [number; 10]);
        }
        StackBytes::of(&self.client).unwrap().sent - before < u64::from(messages) * 10
    }
}
