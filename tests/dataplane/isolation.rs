//! Equal addresses in different namespaces never meet; sockets whose peer is outside the cgroup become plain TCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::poll::PollFlags;
use nix::sys::socket::{SockaddrStorage, bind, sockopt};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::{NetNs, StackBytes, listen};

use crate::link::{accepted, expect, pair, pattern, send, wait};
use crate::nested::{NestedCgroups, describe, pairings};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// A connection from [`CLIENT`] to [`SERVER`], the same tuple wherever it is made.
fn fixed_pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, connect, setsockopt, socket};
    let fd =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(CLIENT)).unwrap();
    // EINPROGRESS; established when writable.
    let _ = connect(fd.as_raw_fd(), &SockaddrStorage::from(SERVER));
    let client = TcpStream::from(fd);
    wait(&client, PollFlags::POLLOUT);
    assert_eq!(client.take_error().unwrap().map(|error| error.to_string()), None);
    (client, accepted(listener))
}

#[test]
fn identical_loopback_tuples_in_two_namespaces_do_not_mix() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let spaces = [NetNs::with_loopback().unwrap(), NetNs::with_loopback().unwrap()];
        let pairs = spaces.each_ref().map(|space| {
            space
                .run(|| {
                    let listener = listen(SERVER).unwrap();
                    fixed_pair(&listener)
                })
                .unwrap()
        });
        for round in 0..500 {
            for (space, (client, server)) in pairs.iter().enumerate() {
                let there = pattern(round * 4 + space as u64, 300);
                let back = pattern(round * 4 + 2 + space as u64, 500);
                send(client, &there);
                send(server, &back);
                if round % 2 == 0 {
                    expect(server, &there);
                    expect(client, &back);
                }
            }
            if round % 2 == 1 {
                for (space, (client, server)) in pairs.iter().enumerate().rev() {
                    expect(server, &pattern(round * 4 + space as u64, 300));
                    expect(client, &pattern(round * 4 + 2 + space as u64, 500));
                }
            }
        }
        let counters = acceleration.snapshot().unwrap();
        assert_eq!(counters.get(Counter::Paired), 2, "{}", describe(&counters));
        assert_eq!(counters.get(Counter::RedirectedBytes), 2 * 500 * 800, "{}", describe(&counters));
        for (client, server) in &pairs {
            assert_eq!(StackBytes::of(client).unwrap().data_segments, 0);
            assert_eq!(StackBytes::of(server).unwrap().data_segments, 0);
        }
    }
}

#[test]
fn a_client_whose_server_is_out_of_scope_ends_as_plain_tcp() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let space = NetNs::with_loopback().unwrap();
        space
            .run(|| {
                cgroups.leave();
                let listener = listen(SERVER).unwrap();
                cgroups.enter();
                let (client, server) = pair(&listener, SERVER);
                let probation = usize::from(pairing == Pairing::FourTuple);
                assert_eq!(acceleration.members().unwrap(), probation, "whose listener announces nothing stays out");
                for round in 0..10 {
                    let bytes = pattern(round, 1000);
                    send(&client, &bytes);
                    expect(&server, &bytes);
                    send(&server, &bytes);
                    expect(&client, &bytes);
                }
                assert_eq!(acceleration.members().unwrap(), 0, "no member is left");
                assert_eq!(StackBytes::of(&client).unwrap().sent, 10_000);
            })
            .unwrap();
        let counters = acceleration.snapshot().unwrap();
        let probation = u64::from(pairing == Pairing::FourTuple);
        assert_eq!(counters.get(Counter::Unclaimed), probation, "{}", describe(&counters));
        assert_eq!(counters.get(Counter::Enrolled), probation, "{}", describe(&counters));
        assert_eq!(counters.get(Counter::RedirectedMessages), 0, "{}", describe(&counters));
    }
}
