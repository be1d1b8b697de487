//! Connection tracking sees no packets of an accelerated connection, and its entry expires. Behind REDIRECT a FIN
//! without an entry is not translated, so keepalive has to renew the entry.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::{Addresses, OUTBOUND_PORT, Pods, StackBytes, connect, listen};

use crate::link::{accepted, back_and_forth, expect, pattern, send};
use crate::nested::NestedCgroups;
use crate::support::machine::is_emulated;
use crate::support::wait::timeout;

/// After how many seconds an entry expires here; 432,000 by default. Keepalive renews it every second, for which an emulated machine
/// may be late by seconds.
fn expiry() -> u32 {
    if is_emulated() { 6 } else { 2 }
}

fn accelerate(cgroups: &NestedCgroups, keepalive: u32) -> Acceleration {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let (pairing, readers, policy) = (Pairing::Sequence, Readers::NonBlocking, Policy::default());
    let options = Options { pairing, tier, readers, policy };
    let config = Config { keepalive, ..Config::default() };
    Acceleration::start(&Cgroup::open(&cgroups.path()).unwrap(), options, config).unwrap()
}

/// Whether the end of the stream comes within that time.
fn ends(mut stream: &TcpStream, limit: Duration) -> bool {
    let limit = PollTimeout::try_from(limit).unwrap();
    let events = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], limit).unwrap();
    events == 1 && std::io::Read::read(&mut stream, &mut [0; 16]).is_ok_and(|read| read == 0)
}

#[test]
fn a_connection_idle_for_longer_than_its_tracking_entry_lives_closes_cleanly() {
    let cgroups = NestedCgroups::new();
    for keepalive in [0, 1] {
        let acceleration = accelerate(&cgroups, keepalive);
        let pods = Pods::new(false).unwrap();
        let (listener, clients) = pods
            .client
            .run(|| {
                for state in ["established", "unacknowledged", "max_retrans"] {
                    let name = format!("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}");
                    std::fs::write(name, expiry().to_string()).unwrap();
                }
                let listener = listen(SocketAddr::new(Addresses::V4.any, OUTBOUND_PORT)).unwrap();
                let clients = [0, 1].map(|_| connect(Addresses::V4.service, None).unwrap());
                (listener, clients)
            })
            .unwrap();
        let servers = [0, 1].map(|_| accepted(&listener));
        let pairs = clients.map(|client| {
            let server = servers.iter().find(|server| server.peer_addr().unwrap() == client.local_addr().unwrap());
            (client, server.unwrap())
        });
        let bytes = pattern(6, 5_000);
        for (client, server) in &pairs {
            back_and_forth(client, server, &bytes, 5);
            assert!(StackBytes::of(client).unwrap().sent <= 5_000, "the connection is not accelerated");
            assert_eq!(getsockopt(server, sockopt::KeepAlive).unwrap(), keepalive > 0);
            assert!(!getsockopt(client, sockopt::KeepAlive).unwrap());
        }
        // Two expiries and more.
        std::thread::sleep(Duration::from_millis(2_750) * expiry());
        let [(client, server), (other_client, other_server)] = pairs;
        client.shutdown(std::net::Shutdown::Write).unwrap();
        other_server.shutdown(std::net::Shutdown::Write).unwrap();
        // Without keepalive it is not expected.
        let limit = if keepalive > 0 { timeout() } else { Duration::from_secs(3) };
        let seen = [ends(server, limit), ends(&other_client, limit)];
        eprintln!("keepalive {keepalive}: the server sees the end: {}, the client: {}", seen[0], seen[1]);
        if keepalive > 0 {
            assert_eq!(seen, [true, true]);
            // The other halves still work, and end.
            send(server, &bytes);
            expect(&client, &bytes);
            server.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(ends(&client, limit));
            other_client.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(ends(other_server, limit));
        }
        drop(acceleration);
    }
}

#[test]
fn an_application_that_asks_for_keepalive_keeps_its_own() {
    let cgroups = NestedCgroups::new();
    let _acceleration = accelerate(&cgroups, 600);
    let listener = listen(SocketAddr::new(Addresses::V4.loopback, 0)).unwrap();
    // What a listener has, its connections inherit.
    nix::sys::socket::setsockopt(&listener, sockopt::KeepAlive, &true).unwrap();
    nix::sys::socket::setsockopt(&listener, sockopt::TcpKeepIdle, &77).unwrap();
    let (_client, server) = crate::link::pair(&listener, listener.local_addr().unwrap());
    assert_eq!(getsockopt(&server, sockopt::TcpKeepIdle).unwrap(), 77);
    nix::sys::socket::setsockopt(&listener, sockopt::KeepAlive, &false).unwrap();
    let (_client, server) = crate::link::pair(&listener, listener.local_addr().unwrap());
    assert_eq!(getsockopt(&server, sockopt::TcpKeepIdle).unwrap(), 600);
    assert!(getsockopt(&server, sockopt::KeepAlive).unwrap());
}
