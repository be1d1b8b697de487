//! Sockets that could be an end of another's connection, by everything that the attacker may choose.
//!
//! The attacker is given all numbers and addresses: prediction is assumed to have succeeded. The listener defers accept(2)
//! (TCP_DEFER_ACCEPT), so that its end is not established until the client sends: the attacker has all the time in the
//! world.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;

use nix::poll::PollFlags;
use sidestep::dataplane::Counter;
use sidestep::testbed::{NetNs, connect, listen};

use crate::attacker::Attacker;
use crate::link::{accepted, expect, send, wait};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::repair::{self, Numbers};
use crate::role::Forgery;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 8080);
/// Messages of each end.
const ROUNDS: usize = 5;

/// A namespace with both addresses, which are no node-local ones: others can have them, too.
pub(crate) fn victims() -> NetNs {
    let space = NetNs::with_loopback().unwrap();
    let add = |address: Ipv4Addr| {
        let status = Command::new("ip").args(["address", "add", &format!("{address}/32"), "dev", "lo"]).status();
        assert!(status.unwrap().success(), "ip address add {address}");
    };
    space.run(|| [CLIENT, *SERVER.ip()].map(add)).unwrap();
    space
}

/// One connection under attack, of which every byte must arrive at its own ends.
fn attack(cgroups: &NestedCgroups, how: Forgery, client_in_scope: bool) {
    let space = victims();
    let mut attacker = Attacker::new();
    let (client, server) = space
        .run(|| {
            let listener = listen(SocketAddr::V4(SERVER)).unwrap();
            repair::set(&listener, libc::TCP_DEFER_ACCEPT, 30).unwrap();
            if !client_in_scope {
                cgroups.leave();
            }
            let client: TcpStream = connect(SocketAddr::V4(SERVER), Some(CLIENT.into())).unwrap();
            cgroups.enter();
            wait(&client, PollFlags::POLLOUT);
            let SocketAddr::V4(at) = client.local_addr().unwrap() else { panic!("no IPv4 address") };
            let numbers = repair::numbers(&client).unwrap();
            if how == Forgery::Crossed {
                let mirrored = Numbers { sends: numbers.expects, expects: numbers.sends };
                attacker.forge(how, SERVER, at, mirrored);
            } else {
                attacker.forge(how, at, SERVER, numbers);
            }
            send(&client, b"request 0");
            (client, accepted(&listener))
        })
        .unwrap();
    expect(&server, b"request 0");
    for round in 0..ROUNDS {
        let (request, answer) = (format!("request {}", round + 1), format!("answer {round}"));
        send(&server, answer.as_bytes());
        assert_eq!(attacker.stolen(), "", "the attacker has got what was meant for another");
        expect(&client, answer.as_bytes());
        send(&client, request.as_bytes());
        assert_eq!(attacker.stolen(), "", "the attacker has got what was meant for another");
        expect(&server, request.as_bytes());
    }
}

fn no_attack_of(how: Forgery) {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        for client_in_scope in [true, false] {
            let what = format!("{pairing:?}, client in cgroups: {client_in_scope}");
            let acceleration = cgroups.accelerate(pairing);
            attack(&cgroups, how, client_in_scope);
            let counters = acceleration.snapshot().unwrap();
            assert_eq!(counters.get(Counter::Paired), u64::from(client_in_scope), "{what}: {}", describe(&counters));
            // The first request has come before accept(2); all else is as without an attacker.
            let redirected = if client_in_scope { 2 * ROUNDS as u64 } else { 0 };
            assert_eq!(counters.get(Counter::RedirectedMessages), redirected, "{what}: {}", describe(&counters));
        }
    }
}

#[test]
fn a_socket_under_repair_is_not_a_peer() {
    no_attack_of(Forgery::Repaired);
}

#[test]
fn a_socket_with_a_chosen_sequence_number_is_not_a_peer() {
    no_attack_of(Forgery::Connected);
}

#[test]
fn a_socket_of_a_simultaneous_open_is_not_a_peer() {
    no_attack_of(Forgery::Crossed);
}

#[test]
fn without_an_attacker_the_same_connection_is_accelerated() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let space = victims();
        let counters = space
            .run(|| {
                let listener = listen(SocketAddr::V4(SERVER)).unwrap();
                let (client, server) = crate::link::pair(&listener, SocketAddr::V4(SERVER));
                crate::link::back_and_forth(&client, &server, b"message", ROUNDS);
                acceleration.snapshot().unwrap()
            })
            .unwrap();
        assert_eq!(counters.get(Counter::RedirectedMessages), 2 * ROUNDS as u64, "{}", describe(&counters));
    }
}
