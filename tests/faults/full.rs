//! Maps that are too small for the load: more plain TCP, and nothing worse.

use sidestep::agent::TierChoice;
use sidestep::dataplane::{Counter, MapRole};
use sidestep::testbed::{connect, listen};

use crate::link::{ANY_PORT, accepted, back_and_forth, pattern};
use crate::nested::{NestedCgroups, describe, pairings};

/// Connections at a time.
const CONNECTIONS: usize = 64;

#[test]
fn maps_far_too_small_for_the_load_lose_nothing() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        for small in [MapRole::Sockets, MapRole::Rendezvous] {
            let acceleration = cgroups.accelerate_with(pairing, TierChoice::Gated, |plane| {
                // An LRU map has at least as many entries as there are CPUs to take them from.
                plane.maps[small as usize].max_entries = 16;
            });
            let listener = listen(ANY_PORT).unwrap();
            let to = listener.local_addr().unwrap();
            for round in 0..4 {
                // All at once, so that the active ends wait together.
                let clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(to, None).unwrap()).collect();
                let mut pairs = Vec::new();
                for _ in &clients {
                    let server = accepted(&listener);
                    let peer = server.peer_addr().unwrap();
                    let client = clients.iter().find(|client| client.local_addr().unwrap() == peer).unwrap();
                    pairs.push((client, server));
                }
                for (seed, (client, server)) in pairs.iter().enumerate() {
                    let bytes = pattern(seed as u64 + round, 3_000);
                    back_and_forth(client, server, &bytes, 3);
                }
            }
            let counters = acceleration.snapshot().unwrap();
            eprintln!("{pairing:?} {small:?}: {}", describe(&counters));
            if small == MapRole::Sockets {
                assert!(counters.get(Counter::MapRefused) > 0, "{}", describe(&counters));
                assert!(acceleration.members().unwrap() <= 16);
            }
            assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
        }
    }
}
