//! Servers whose readers are level-triggered, so that the pairs of their streams may stay in the sockhash: every byte both ways, with
//! readers that pause and clients that close in the middle.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sidestep::agent::check;
use sidestep::dataplane::{Counter, Policy, Streams};
use sidestep::testbed;

use crate::client::content;
use crate::server::{Server, installed};
use crate::support::feature::Feature;
use crate::support::wait::timeout;
use crate::{accelerated, postgres};

/// What goes in each direction: more than may be redirected at once, and than the stack's first buffers take.
pub(crate) const BYTES: usize = 12_000_000;
/// How often a client pauses while it reads.
const PAUSES: usize = 3;
/// Longer than the second after which a receiver that waits behind redirected bytes is looked after.
const PAUSE: Duration = Duration::from_millis(1300);

/// Pairs that may leave all the same: where a message took the stack behind redirected ones for another reason than the bounds, when its
/// receiver was busy or had no memory. On Linux 6.12 one in a run has left; four leave where none stays.
const MOST_LEFT: u64 = 3;
/// How often the work is done until no more have left: what brings a message onto the stack is up to the machine, too.
const RUNS: usize = 3;

/// What a client says, and what the server must answer.
pub(crate) struct Dialogue {
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

/// A connection; it says what it stands for when something is wrong.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    what: String,
}

impl Client {
    fn new(port: u16, what: &str) -> Self {
        let stream = testbed::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None).unwrap();
        let client = Self { stream, what: what.to_owned() };
        client.wait(PollFlags::POLLOUT);
        client.stream.set_nodelay(true).unwrap();
        client
    }

    pub(crate) fn wait(&self, events: PollFlags) {
        let limit = PollTimeout::try_from(timeout()).unwrap();
        let ready = poll(&mut [PollFd::new(self.stream.as_fd(), events)], limit).unwrap();
        assert!(ready > 0, "{}: stalled, waiting for {events:?}", self.what);
    }

    /// Sends the request and reads `most` bytes of the answer at the same time, in between with `pauses` in reading.
    fn converse(&mut self, dialogue: &Dialogue, most: usize, pauses: usize) {
        let (mut unsent, mut read) = (&dialogue.request[..], 0);
        let every = most / (pauses + 1) + 1;
        let mut buffer = vec![0; 64 << 10];
        while read < most {
            let mut events = PollFlags::POLLIN;
            if !unsent.is_empty() {
                events |= PollFlags::POLLOUT;
            }
            self.wait(events);
            match self.stream.write(&unsent[..unsent.len().min(30_000)]) {
                Ok(sent) => unsent = &unsent[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{}: send: {error}", self.what),
            }
            let wanted = buffer.len().min(most - read);
            match self.stream.read(&mut buffer[..wanted]) {
                Ok(0) => panic!("{}: closed after {read} bytes", self.what),
                Ok(length) => {
                    let expected = &dialogue.answer[read..read + length];
                    assert!(buffer[..length] == *expected, "{}: wrong bytes after {read}", self.what);
                    if read / every < (read + length) / every {
                        sleep(PAUSE);
                    }
                    read += length;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{}: recv: {error}", self.what),
            }
        }
    }

    /// Sends a half of the request, as long as there is room.
    fn begin(&mut self, dialogue: &Dialogue) {
        for part in dialogue.request[..dialogue.request.len() / 2].chunks(30_000) {
            match self.stream.write(part) {
                Ok(sent) if sent == part.len() => {}
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{}: send: {error}", self.what),
            }
        }
    }

    /// The end of the stream, after the end of what is sent.
    fn finish(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self.wait(PollFlags::POLLIN);
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0, "{}: bytes behind the answer", self.what);
    }
}

/// Everything that is done with one server.
fn exercise(what: &str, port: u16, greet: fn(&mut Client), dialogues: &[Dialogue]) {
    let connect = |part: &str| {
        let mut client = Client::new(port, &format!("{what}, {part}"));
        greet(&mut client);
        client
    };
    for pauses in [0, PAUSES] {
        let mut client = connect(&format!("{pauses} pauses"));
        for dialogue in dialogues {
            client.converse(dialogue, dialogue.answer.len(), pauses);
        }
        client.finish();
    }
    // Some close in the middle, with bytes unread at both ends; the server goes on with the next one.
    for dialogue in dialogues {
        let mut client = connect("closed in the middle");
        client.converse(dialogue, dialogue.answer.len() / 2, 0);
        drop(client);
        let mut client = connect("closed in the middle of a request");
        client.begin(dialogue);
        drop(client);
    }
    let mut client = connect("afterwards");
    dialogues.iter().for_each(|dialogue| client.converse(dialogue, dialogue.answer.len(), 0));
    client.finish();
}

fn echo() -> Vec<Dialogue> {
    vec![Dialogue { request: content(BYTES), answer: content(BYTES) }]
}

/// RESP (redis.io/docs/reference/protocol-spec): a value is set and got.
fn redis() -> Vec<Dialogue> {
    let value = content(BYTES);
    let set = [format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${BYTES}\r\n").as_bytes(), &value, b"\r\n"].concat();
    let got = [format!("${BYTES}\r\n").as_bytes(), &value, b"\r\n"].concat();
    vec![
        Dialogue { request: set, answer: b"+OK\r\n".to_vec() },
        Dialogue { request: b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec(), answer: got },
    ]
}

/// Runs `work` in cgroups whose streams stay and may stay. Where none can, it says so: the work is done once all the same.
fn stays(name: &str, work: impl Fn()) {
    // Where FIONREAD does not show all bytes, pairs leave at once.
    let can_stay = Feature::SocketOptions.required(name) && !check::configuration().unwrap().redirect_unaccepted;
    for streams in [Streams::Auto, Streams::Stay].into_iter().take(if can_stay { 2 } else { 1 }) {
        let name = format!("{name}, {}", streams.name());
        if streams == Streams::Stay {
            let stay = (0..RUNS).any(|_| pairs_that_leave(&name, streams, &work) <= MOST_LEFT);
            assert!(stay, "{name}: more than {MOST_LEFT} pairs left in each of {RUNS} runs");
        } else {
            pairs_that_leave(&name, streams, &work);
        }
    }
}

/// Does the work in such a cgroup; how many pairs left.
fn pairs_that_leave(name: &str, streams: Streams, work: impl Fn()) -> u64 {
    let counters = accelerated(name, Policy { streams, ..Policy::default() }, work);
    let [past, by_stack, left] =
        [Counter::RedirectedBytes, Counter::PassedBytes, Counter::Unenrolled].map(|counter| counters.get(counter));
    println!("{name}: {past} bytes past the stack, {by_stack} of the same sockets by the stack, {left} pairs left");
    if streams == Streams::Stay {
        assert!(past > 0 && by_stack > BYTES as u64, "{name}: no stream went both ways");
    }
    left
}

/// One test, since each server moves this whole process between cgroups.
#[test]
fn level_triggered_servers_stream_every_byte() {
    if installed(&["redis-server"]) {
        stays("redis", || {
            let redis = Server::redis();
            exercise("redis", redis.port, |_| {}, &self::redis());
        });
        if installed(&["haproxy"]) {
            stays("haproxy in TCP mode", || {
                let redis = Server::redis();
                let haproxy = Server::haproxy_in_tcp_mode(redis.port);
                exercise("haproxy in TCP mode", haproxy.port, |_| {}, &self::redis());
            });
        }
    }
    if installed(&["python3"]) {
        stays("asyncio", || {
            let python = Server::asyncio();
            exercise("asyncio", python.port, |_| {}, &echo());
        });
    }
    if installed(&["postgres", "initdb"]) {
        stays("PostgreSQL", || {
            let server = Server::postgres();
            exercise("PostgreSQL", server.port, postgres::greet, &postgres::dialogues());
        });
    }
}
