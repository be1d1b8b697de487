//! A full map, a receiver that does not read, a blocking end: plain TCP, counted.

use std::io::{ErrorKind, Write};

use sidestep::agent::TierChoice;
use sidestep::dataplane::{Config, Counter, MapRole, Pairing};
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, back_and_forth, expect, pair, pattern, send};
use crate::nested::{NestedCgroups, describe, pairings, tiers};

#[test]
fn a_full_map_leaves_connections_plain_and_is_counted() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate_with(pairing, TierChoice::Gated, |plane| {
            plane.maps[MapRole::Sockets as usize].max_entries = 4;
        });
        let listener = listen(ANY_PORT).unwrap();
        let to = listener.local_addr().unwrap();
        let pairs: Vec<_> = (0..6).map(|_| pair(&listener, to)).collect();
        for (seed, (client, server)) in pairs.iter().enumerate() {
            let bytes = pattern(seed as u64, 5000);
            back_and_forth(client, server, &bytes, 5);
        }
        let counters = acceleration.snapshot().unwrap();
        assert_eq!(acceleration.members().unwrap(), 4);
        assert_eq!(counters.get(Counter::Paired), 2, "{}", describe(&counters));
        assert_eq!(counters.get(Counter::MapRefused), 4, "{}", describe(&counters));
        for (client, _) in &pairs[2..] {
            assert_eq!(StackBytes::of(client).unwrap().sent, 25_000);
        }
    }
}

#[test]
fn a_receiver_that_does_not_read_gets_no_more_than_the_bound_past_the_stack() {
    let cgroups = NestedCgroups::new();
    let cases = [(TierChoice::Gated, 100), (TierChoice::Gated, 30_000), (TierChoice::Sticky, 30_000)];
    let tiers = tiers();
    for (tier, message) in cases.into_iter().filter(|(tier, _)| tiers.contains(tier)) {
        let acceleration = cgroups.accelerate_with(Pairing::Sequence, tier, |_| {});
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let bytes = pattern(3, 6_000_000);
        // As much as goes without a reader.
        let mut sent = 0;
        for part in bytes.chunks(message) {
            match (&client).write(part) {
                Ok(written) => {
                    sent += written;
                    if written < part.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("send: {error}"),
            }
        }
        let counters = acceleration.snapshot().unwrap();
        let config = Config::default();
        let bound = u64::from(if tier == TierChoice::Sticky { config.sticky_bytes } else { config.max_bytes });
        assert!(counters.get(Counter::RedirectedBytes) <= bound, "{tier:?}: {}", describe(&counters));
        assert!(counters.get(Counter::RedirectedBytes) > 0, "{tier:?}: {}", describe(&counters));
        assert!(counters.get(Counter::PassBackpressure) > 0, "{tier:?}: {}", describe(&counters));
        expect(&server, &bytes[..sent]);
        // A direction that has once been this far behind stays on the stack; the gated tier takes the pair out.
        let before = acceleration.snapshot().unwrap().get(Counter::RedirectedBytes);
        send(&client, &bytes[..1000]);
        expect(&server, &bytes[..1000]);
        let after = acceleration.snapshot().unwrap();
        assert_eq!(after.get(Counter::RedirectedBytes), before, "{tier:?}: {}", describe(&after));
        let members = acceleration.members().unwrap();
        assert_eq!(members, if tier == TierChoice::Gated { 0 } else { 2 }, "{tier:?}: {}", describe(&after));
    }
}

#[test]
fn a_pair_with_a_blocking_end_leaves_the_map() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    server.set_nonblocking(false).unwrap();
    assert_eq!(acceleration.members().unwrap(), 2);
    for round in 0..5 {
        let bytes = pattern(round, 700);
        send(&client, &bytes);
        expect(&server, &bytes);
        send(&server, &bytes);
        expect(&client, &bytes);
    }
    let counters = acceleration.snapshot().unwrap();
    assert_eq!(acceleration.members().unwrap(), 0, "{}", describe(&counters));
    assert_eq!(counters.get(Counter::Unenrolled), 1, "{}", describe(&counters));
    assert_eq!(counters.get(Counter::RedirectedMessages), 0, "{}", describe(&counters));
}
