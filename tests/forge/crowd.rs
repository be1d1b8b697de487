//! Many connections that are opened long before they are used, and one process that opens as many as it can.

use std::net::TcpStream;

use sidestep::agent::Acceleration;
use sidestep::dataplane::{Counter, MapRole};
use sidestep::testbed::{NetNs, listen};

use crate::attacker::Attacker;
use crate::link::{ANY_PORT, back_and_forth, pair};
use crate::nested::{NestedCgroups, describe, pairings};

/// More than twice as many as the rendezvous map holds records (4,096).
const CONNECTIONS: usize = 9_500;
/// Still more than that, where the machine is emulated.
const FEWER: usize = 5_000;

fn connections() -> usize {
    if crate::support::machine::is_emulated() { FEWER } else { CONNECTIONS }
}

/// Lets this process, and those that it starts, have so many connections with both ends.
fn allow(connections: usize) {
    let wanted = 2 * connections as u64 + 200;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the addresses are those of a live structure of the right type.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit = libc::rlimit { rlim_cur: limit.rlim_cur.max(wanted), rlim_max: limit.rlim_max.max(wanted) };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(result, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

fn entries(acceleration: &Acceleration, role: MapRole) -> usize {
    acceleration.loaded().map(role).keys().count()
}

/// Both ends of each have sent once, all past the stack.
fn use_all(acceleration: &Acceleration, pairs: &[(TcpStream, TcpStream)]) {
    let before = acceleration.snapshot().unwrap();
    for (client, server) in pairs {
        back_and_forth(client, server, b"message", 1);
    }
    let after = acceleration.snapshot().unwrap();
    let redirected = after.get(Counter::RedirectedMessages) - before.get(Counter::RedirectedMessages);
    assert_eq!(redirected, 2 * pairs.len() as u64, "{}", describe(&after));
}

#[test]
fn connections_that_are_opened_long_before_use_are_accelerated_both_ways() {
    let cgroups = NestedCgroups::new();
    let count = connections();
    allow(count);
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let space = NetNs::with_loopback().unwrap();
        let pairs: Vec<_> = space
            .run(|| {
                let listener = listen(ANY_PORT).unwrap();
                let to = listener.local_addr().unwrap();
                (0..count).map(|_| pair(&listener, to)).collect()
            })
            .unwrap();
        assert_eq!(entries(&acceleration, MapRole::Rendezvous), 0, "{pairing:?}: records outlive the handshake");
        assert_eq!(entries(&acceleration, MapRole::Pairs), count, "{pairing:?}");
        use_all(&acceleration, &pairs[..count / 2]);
        assert_eq!(entries(&acceleration, MapRole::Pairs), count - count / 2, "{pairing:?}");
        drop(pairs);
        for _ in 0..200 {
            if entries(&acceleration, MapRole::Pairs) == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(entries(&acceleration, MapRole::Pairs), 0, "{pairing:?}: answers outlive their connections");
    }
}

#[test]
fn connections_of_others_are_not_in_the_way() {
    let cgroups = NestedCgroups::new();
    let count = connections();
    allow(count);
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listener = listen(ANY_PORT).unwrap();
        let to = listener.local_addr().unwrap();
        let pairs: Vec<_> = (0..100).map(|_| pair(&listener, to)).collect();
        let mut attacker = Attacker::new();
        attacker.open(count);
        use_all(&acceleration, &pairs);
    }
}
