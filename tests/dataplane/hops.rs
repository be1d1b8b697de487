//! The mesh's three hops behind Istio's rules: equal bytes, and past the stack.

use std::sync::atomic::AtomicBool;

use sidestep::testbed::{Addresses, Hop, Launcher, Load, Pods, run};

use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::timeout;

#[test]
fn every_hop_skips_the_stack() {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let cgroups = NestedCgroups::new();
    let pods = Pods::new(true).unwrap();
    let launcher = Launcher {
        program: env!("CARGO_BIN_EXE_sidestep").into(),
        cgroup: Some(cgroups.path()),
        ..Launcher::new(&NEVER)
    };
    let load = Load { connections: 2, warm_up: 5, requests: 200, size: 1000, seed: 7 };
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        for (family, addresses) in [("IPv4", &Addresses::V4), ("IPv6", &Addresses::V6)] {
            for hop in Hop::ALL {
                let what = format!("{pairing:?} {family} {hop:?}");
                let measured =
                    run(hop, &pods, addresses, &launcher, load).unwrap_or_else(|error| panic!("{what}: {error}"));
                // A first message may come before its receiver is accepted, and then takes the stack: at most one
                // request on each connection of each hop.
                for part in measured.parts.map_or(vec![measured.traffic], |parts| parts.to_vec()) {
                    let share = part.share_past_stack();
                    eprintln!("{what}: {:.2} % past the stack", share * 100.0);
                    assert!(share > 0.99, "{what}: only {share} past the stack: {}", {
                        describe(&acceleration.snapshot().unwrap())
                    });
                }
            }
        }
        assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    }
}
