//! Every hop and the whole chain by way of the stack: bytes equal (the client checks each), and nothing uncounted.

use sidestep::testbed::{Addresses, Hop, Load, Measurement, Pods, run};

const FAMILIES: [(&str, &Addresses); 2] = [("IPv4", &Addresses::V4), ("IPv6", &Addresses::V6)];

/// Runs one hop, and checks that every socket has sent all the bytes it should have, through the stack.
fn check(pods: &Pods, addresses: &Addresses, hop: Hop, load: Load) -> Measurement {
    let measured =
        run(hop, pods, addresses, &crate::launcher(), load).unwrap_or_else(|error| panic!("{hop:?}: {error}"));
    let connections = u64::from(load.connections);
    assert_eq!(measured.latency.requests, connections * load.requests, "{hop:?}");
    assert!(measured.latency.p50_ns > 0 && measured.latency.p50_ns <= measured.latency.p99_ns, "{hop:?}");
    // There and back, on both ends of each hop.
    let bytes = 2 * connections * (load.warm_up + load.requests) * load.size;
    let parts = measured.parts.map_or(vec![measured.traffic], |parts| parts.to_vec());
    assert_eq!(parts.len(), if hop == Hop::Chain { 3 } else { 1 });
    for part in parts {
        assert_eq!((part.connections, part.written, part.by_stack), (2 * connections, bytes, bytes), "{hop:?}");
        assert_eq!(part.share_past_stack(), 0.0, "{hop:?}");
    }
    measured
}

#[test]
fn every_hop_carries_every_byte() {
    let pods = Pods::new(true).unwrap();
    for (family, addresses) in FAMILIES {
        eprintln!("{family}");
        for hop in Hop::ALL {
            for (connections, size) in [(1, 1), (1, 64), (7, 10_000)] {
                check(&pods, addresses, hop, Load { connections, warm_up: 3, requests: 50, size, seed: 1 });
            }
        }
    }
}

#[test]
fn the_chain_carries_20_megabytes_at_once() {
    let pods = Pods::new(true).unwrap();
    for (family, addresses) in FAMILIES {
        eprintln!("{family}");
        // Far more than all buffers on the way hold, so that backpressure stops and starts every process.
        check(
            &pods,
            addresses,
            Hop::Chain,
            Load { connections: 1, warm_up: 0, requests: 1, size: 20_000_000, seed: 2 },
        );
        check(&pods, addresses, Hop::Chain, Load { connections: 5, warm_up: 0, requests: 2, size: 1_000_000, seed: 3 });
    }
}
