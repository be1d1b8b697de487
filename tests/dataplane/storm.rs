//! A storm of short connections whose client writes in several parts the moment it is connected: nothing reordered,
//! nothing hung, under every condition that lets bytes overtake a plain sockmap (receive packet steering, delayed
//! handshake ACK, TCP_DEFER_ACCEPT, TCP Fast Open).

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, setsockopt, socket, sockopt,
};
use sidestep::dataplane::Counter;
use sidestep::testbed::{NetNs, accept, connect, listen};

use crate::link::{Finish, pattern, wait};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::machine::scale;
use crate::support::wait::timeout;

/// All storms together, as many as were asked for; fewer where the machine is emulated.
const CONNECTIONS: usize = 50_000;
/// Connections at a time.
const WINDOW: usize = 32;
/// Parts of a request.
const PARTS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Calm,
    Steering,
    NoQuickAck,
    DeferAccept,
    FastOpen,
}

fn connections() -> usize {
    (CONNECTIONS as f64 * scale()) as usize
}

#[test]
fn nothing_is_reordered_in_a_storm() {
    let cgroups = NestedCgroups::new();
    let weathers = [Weather::Calm, Weather::Steering, Weather::NoQuickAck, Weather::DeferAccept, Weather::FastOpen];
    let pairings = pairings();
    for &pairing in &pairings {
        let acceleration = cgroups.accelerate(pairing);
        for weather in weathers {
            let space = NetNs::with_loopback().unwrap();
            let count = connections() / weathers.len() / pairings.len();
            let start = Instant::now();
            // On a thread of its own, which alone gets the mounts that a weather makes.
            std::thread::scope(|threads| {
                threads.spawn(|| space.run(|| storm(weather, count)).unwrap());
            });
            eprintln!("{pairing:?} {weather:?}: {count} connections in {:?}", start.elapsed());
        }
        let counters = acceleration.snapshot().unwrap();
        eprintln!("{}", describe(&counters));
        assert!(counters.get(Counter::RedirectedMessages) > 0, "the storm never reached the redirection");
        assert!(counters.get(Counter::PassedBytes) > 0, "the storm never reached the stack");
    }
}

/// Runs inside its own network namespace, on a thread of its own.
fn storm(weather: Weather, count: usize) {
    prepare(weather);
    // Several ports, so that TIME_WAIT does not use up the client's.
    let listeners: Vec<TcpListener> = (0..8)
        .map(|port| {
            let listener = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000 + port)).unwrap();
            match weather {
                Weather::DeferAccept => set(&listener, libc::TCP_DEFER_ACCEPT, 1),
                Weather::FastOpen => set(&listener, libc::TCP_FASTOPEN, 4096),
                _ => {}
            }
            listener
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let done = &done;
        let server = &listeners;
        threads.spawn(move || serve(server, done));
        let _finish = Finish(done);
        clients(weather, &listeners, count);
    });
}

fn prepare(weather: Weather) {
    std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").unwrap();
    match weather {
        Weather::Steering => {
            // /sys shows the links of the namespace it was mounted in, so this thread gets a mount of its own.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).unwrap();
            // A mask of the first two CPUs; the kernel refuses one that it has not (EOVERFLOW).
            let cpus = std::thread::available_parallelism().map_or(1, |count| count.get().min(2));
            let mask = format!("{:x}", (1 << cpus) - 1);
            std::fs::write("/sys/class/net/lo/queues/rx-0/rps_cpus", mask).unwrap();
        }
        // 1: clients, 2: servers (Documentation/networking/ip-sysctl.rst).
        Weather::FastOpen => std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").unwrap(),
        _ => {}
    }
}

fn set(socket: impl AsFd, option: i32, value: i32) {
    // SAFETY: the address and size are those of a live i32.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, option, (&raw const value).cast(), 4)
    };
    assert_eq!(result, 0, "setsockopt: {}", std::io::Error::last_os_error());
}

/// Echoes until the clients are done.
fn serve(listeners: &[TcpListener], done: &AtomicBool) {
    let mut open: HashMap<i32, (TcpStream, Vec<u8>)> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    while !done.load(Ordering::Relaxed) {
        let mut fds: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
        fds.extend(open.values().map(|(stream, pending)| {
            let out = if pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            PollFd::new(stream.as_fd(), PollFlags::POLLIN | out)
        }));
        poll(&mut fds, PollTimeout::from(20_u8)).unwrap();
        let ready: Vec<i32> = fds.iter().filter(|fd| fd.any() == Some(true)).map(|fd| fd.as_fd().as_raw_fd()).collect();
        drop(fds);
        for fd in ready {
            if let Some((stream, pending)) = open.get_mut(&fd) {
                if !echo(stream, pending, &mut buffer) {
                    open.remove(&fd);
                }
            } else if let Some(listener) = listeners.iter().find(|listener| listener.as_raw_fd() == fd) {
                while let Some(stream) = accept(listener).unwrap() {
                    open.insert(stream.as_raw_fd(), (stream, Vec::new()));
                }
            }
        }
    }
}

fn echo(mut stream: &TcpStream, pending: &mut Vec<u8>, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => return false,
        Ok(read) => pending.extend_from_slice(&buffer[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return false,
    }
    match stream.write(pending) {
        Ok(written) => drop(pending.drain(..written)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return false,
    }
    true
}

struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    sent: usize,
    received: usize,
    since: Instant,
}

fn clients(weather: Weather, listeners: &[TcpListener], count: usize) {
    let targets: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let mut open: Vec<Client> = Vec::new();
    let mut started = 0;
    let mut buffer = vec![0; 65_536];
    while started < count || !open.is_empty() {
        while started < count && open.len() < WINDOW {
            open.push(start(weather, targets[started % targets.len()], started as u64));
            started += 1;
        }
        let mut fds: Vec<PollFd<'_>> = open
            .iter()
            .map(|client| {
                let out = if client.sent == 0 { PollFlags::POLLOUT } else { PollFlags::empty() };
                PollFd::new(client.stream.as_fd(), PollFlags::POLLIN | out)
            })
            .collect();
        poll(&mut fds, PollTimeout::from(1000_u16)).unwrap();
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        open.retain_mut(|client| {
            if ready.next() == Some(true) {
                return advance(client, &mut buffer);
            }
            assert!(client.since.elapsed() < timeout(), "hung after {} bytes", client.received);
            true
        });
    }
}

fn start(weather: Weather, target: SocketAddr, seed: u64) -> Client {
    let bytes = pattern(seed, 30 + seed as usize * 7 % 3000);
    let since = Instant::now();
    let (stream, sent) = match weather {
        Weather::FastOpen => fast_open(target, &bytes),
        _ => (connect(target, None).unwrap(), 0),
    };
    if weather == Weather::NoQuickAck {
        set(&stream, libc::TCP_QUICKACK, 0);
    }
    Client { stream, bytes, sent, received: 0, since }
}

/// Connects with the first part in the SYN, when the client has a cookie already.
fn fast_open(target: SocketAddr, bytes: &[u8]) -> (TcpStream, usize) {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    setsockopt(&fd, sockopt::TcpNoDelay, &true).unwrap();
    let first = &bytes[..bytes.len() / PARTS];
    let sent =
        sendto(fd.as_raw_fd(), first, &SockaddrStorage::from(target), MsgFlags::from_bits_retain(libc::MSG_FASTOPEN));
    // EINPROGRESS: no cookie yet, the handshake goes first and nothing was taken.
    (TcpStream::from(fd), sent.unwrap_or(0))
}

/// Writes the parts once connected, then reads the echo; false when it is complete.
fn advance(client: &mut Client, buffer: &mut [u8]) -> bool {
    let Client { stream, bytes, sent, received, .. } = client;
    if *sent < bytes.len() {
        let part = bytes.len().div_ceil(PARTS);
        while *sent < bytes.len() {
            let end = (*sent + part).min(bytes.len());
            match stream.write(&bytes[*sent..end]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&*stream, PollFlags::POLLOUT),
                Err(error) => panic!("send: {error}"),
            }
        }
    }
    loop {
        match stream.read(buffer) {
            Ok(0) => panic!("the echo ended after {received} of {} bytes", bytes.len()),
            Ok(read) => {
                assert!(bytes[*received..].starts_with(&buffer[..read]), "reordered or foreign bytes at {received}");
                *received += read;
                if *received == bytes.len() {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => panic!("recv: {error}"),
        }
    }
}
