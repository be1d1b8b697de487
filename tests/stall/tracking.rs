//! Connection tracking behind REDIRECT: an entry must live as long as it does in plain TCP, or a FIN is not translated and
//! never arrives.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Counter, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::{Addresses, OUTBOUND_PORT, Pods, connect, listen};

use crate::feature::Feature;
use crate::link::{accepted, back_and_forth, expect, pattern, send};
use crate::nested::{NestedCgroups, describe};
use crate::support::machine::is_emulated;
use crate::support::wait::{timeout, wait_for};

/// After how many seconds an entry expires here when it is half closed (60 by default), or idle (432,000 by default). Keepalive renews
/// it every second, for which an emulated machine may be late by seconds.
fn expiry() -> u32 {
    if is_emulated() { 6 } else { 2 }
}

/// What the other half of a half-closed connection sends, and how often: much more often than an entry expires, since also a
/// busy machine must not let it expire in plain TCP. All together last for several expiries.
const PIECES: usize = 24;
fn piece_interval() -> Duration {
    Duration::from_millis(140) * expiry()
}

/// A client's pod with REDIRECT, and a sidecar's listener in it.
struct Pod {
    pods: Pods,
    listener: TcpListener,
}

impl Pod {
    fn new() -> Self {
        let pods = Pods::new(false).unwrap();
        let listener = pods
            .client
            .run(|| {
                for state in ["close_wait", "fin_wait", "established", "unacknowledged", "max_retrans"] {
                    let name = format!("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}");
                    std::fs::write(name, expiry().to_string()).unwrap();
                }
                listen(SocketAddr::new(Addresses::V4.any, OUTBOUND_PORT)).unwrap()
            })
            .unwrap();
        Self { pods, listener }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = self.pods.client.run(|| connect(Addresses::V4.service, None).unwrap()).unwrap();
        let server = accepted(&self.listener);
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
        (client, server)
    }
}

fn accelerate(cgroups: &NestedCgroups, keepalive: u32) -> Acceleration {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let options =
        Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy: Policy::default() };
    let config = Config { keepalive, ..Config::default() };
    Acceleration::start(&Cgroup::open(&cgroups.path()).unwrap(), options, config).unwrap()
}

/// All bytes until the end of the stream, which must come within `limit`.
fn until_end(mut stream: &TcpStream, limit: Duration) -> Result<Vec<u8>, String> {
    let (begin, mut bytes, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    while begin.elapsed() < limit {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8)).unwrap();
            }
            Err(error) => return Err(format!("{error} after {} bytes", bytes.len())),
        }
    }
    Err(format!("no end after {} bytes", bytes.len()))
}

/// What each end of a half-closed connection does: the first closes its direction, and the other goes on for a while.
fn half_closed(first: &TcpStream, other: &TcpStream, piece: &[u8]) -> Result<Vec<u8>, String> {
    first.shutdown(std::net::Shutdown::Write).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..PIECES {
                send(other, piece);
                std::thread::sleep(piece_interval());
            }
            other.shutdown(std::net::Shutdown::Write).unwrap();
        });
        until_end(first, piece_interval() * PIECES as u32 + timeout())
    })
}

/// Both ends half close, and one that has redirected much before.
#[test]
fn a_half_closed_connection_ends() {
    let cgroups = NestedCgroups::new();
    let piece = pattern(3, 1024);
    // The keepalive that renews idle entries is off, so that nothing else does.
    for accelerated in [false, true] {
        let acceleration = accelerated.then(|| accelerate(&cgroups, 0));
        let pod = Pod::new();
        let pairs: Vec<_> = (0..4).map(|_| pod.connect()).collect();
        for (client, server) in &pairs {
            back_and_forth(client, server, &piece, 5);
        }
        let seen: Vec<_> = std::thread::scope(|threads| {
            let running: Vec<_> = pairs
                .iter()
                .enumerate()
                .map(|(number, (client, server))| {
                    let piece = &piece;
                    threads.spawn(move || {
                        if number % 2 == 0 {
                            half_closed(client, server, piece)
                        } else {
                            half_closed(server, client, piece)
                        }
                    })
                })
                .collect();
            running.into_iter().map(|each| each.join().unwrap()).collect()
        });
        let counters = acceleration.as_ref().map(|it| it.snapshot().unwrap());
        let said = counters.as_ref().map(describe).unwrap_or_default();
        for (number, bytes) in seen.into_iter().enumerate() {
            assert_eq!(bytes, Ok(piece.repeat(PIECES)), "accelerated: {accelerated}, pair {number}: {said}");
        }
        if let Some(counters) = counters {
            assert!(counters.get(Counter::RedirectedMessages) > 0, "{said}");
        }
    }
}

/// How a server asks for keepalive, every two hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// On its listener, whose connections inherit it.
    Before,
    /// On the connection.
    After,
    /// On the connection, when bytes have gone past the stack.
    Later,
}

fn ask(socket: impl AsFd) {
    setsockopt(&socket, sockopt::KeepAlive, &true).unwrap();
    setsockopt(&socket, sockopt::TcpKeepIdle, &7_200).unwrap();
    setsockopt(&socket, sockopt::TcpKeepInterval, &76).unwrap();
}

#[test]
fn a_server_with_a_slow_keepalive_of_its_own_sees_the_end() {
    if !Feature::SocketOptions.required("a keepalive that is too slow") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let bytes = pattern(6, 1_000);
    let _acceleration = accelerate(&cgroups, 1);
    std::thread::scope(|threads| {
        for asked in [Asked::Before, Asked::After, Asked::Later] {
            // Without, both ends are looked at until the first message has been redirected.
            if asked == Asked::Later && !Feature::DirectLoads.required("a keepalive that is changed late") {
                continue;
            }
            let pod = Pod::new();
            if asked == Asked::Before {
                ask(&pod.listener);
            }
            let pairs: Vec<_> = (0..2).map(|_| pod.connect()).collect();
            let bytes = &bytes;
            threads.spawn(move || {
                for (client, server) in &pairs {
                    if asked == Asked::After {
                        ask(server);
                    }
                    back_and_forth(client, server, bytes, 5);
                    if asked == Asked::Later {
                        ask(server);
                        back_and_forth(client, server, bytes, 2);
                    }
                    let times =
                        (getsockopt(server, sockopt::TcpKeepIdle), getsockopt(server, sockopt::TcpKeepInterval));
                    assert_eq!(times, (Ok(1), Ok(1)), "{asked:?}");
                }
                // Two expiries and more.
                std::thread::sleep(Duration::from_millis(2_750) * expiry());
                let [(client, server), (other_client, other_server)] = &pairs[..] else { unreachable!() };
                client.shutdown(std::net::Shutdown::Write).unwrap();
                other_server.shutdown(std::net::Shutdown::Write).unwrap();
                let seen = [until_end(server, timeout()), until_end(other_client, timeout())];
                assert_eq!(seen, [Ok(vec![]), Ok(vec![])], "{asked:?}");
                // Its routes are needed until here.
                drop(pod);
            });
        }
    });
}

/// The application's times come back when the pair leaves, unless it has set others since.
#[test]
fn a_servers_own_keepalive_comes_back() {
    if !Feature::SocketOptions.required("a keepalive that is too slow") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let bytes = pattern(6, 1_000);
    for set_since in [false, true] {
        let acceleration = accelerate(&cgroups, 600);
        let listener = listen(SocketAddr::new(Addresses::V4.loopback, 0)).unwrap();
        ask(&listener);
        let (client, server) = crate::link::pair(&listener, listener.local_addr().unwrap());
        let times = || {
            (getsockopt(&server, sockopt::TcpKeepIdle).unwrap(), getsockopt(&server, sockopt::TcpKeepInterval).unwrap())
        };
        assert_eq!(times(), (600, 76));
        back_and_forth(&client, &server, &bytes, 5);
        if set_since {
            setsockopt(&server, sockopt::TcpKeepIdle, &30).unwrap();
            // The first takes the stack, since its packet asks for the times again. Unread, it would keep all others there.
            back_and_forth(&client, &server, &bytes, 5);
        }
        // More than may wait at a reader that pauses: the pair leaves when it has been read.
        let much = pattern(7, 3_000_000);
        std::thread::scope(|threads| {
            threads.spawn(|| much.chunks(10_000).for_each(|part| send(&client, part)));
            std::thread::sleep(Duration::from_millis(300));
            expect(&server, &much);
        });
        wait_for(|| {
            back_and_forth(&client, &server, &bytes, 1);
            let left = acceleration.members().unwrap() == 0 && times().0 != 600;
            if left { Ok(()) } else { Err(describe(&acceleration.snapshot().unwrap())) }
        });
        let counters = describe(&acceleration.snapshot().unwrap());
        assert_eq!(times(), (if set_since { 30 } else { 7_200 }, 76), "{counters}");
        assert!(getsockopt(&server, sockopt::KeepAlive).unwrap());
    }
}
