//! What acceleration gains through two Envoys as TCP proxies: a measurement, so only on request:
//! `cargo test --release --test mesh -- --ignored --nocapture`.

use std::time::Duration;

use sidestep::bench::Estimate;
use sidestep::dataplane::Pairing;

use crate::envoy::{self, Proxying};
use crate::mesh::Mesh;
use crate::tcp::run;

const ROUNDS: usize = 15;
const REQUESTS: u64 = 1500;

#[test]
#[ignore = "a measurement: run it by itself on an idle machine"]
fn tcp_sidecars_plain_and_accelerated() {
    let Some(envoy) = envoy::binary() else { return };
    // A mesh for each, so that rounds take turns.
    let meshes = [None, Some(Pairing::Sequence), Some(Pairing::FourTuple)].map(|pairing| {
        let mesh = Mesh::new(&envoy, Proxying::Tcp);
        let acceleration = pairing.map(|pairing| mesh.accelerate(pairing));
        (pairing.map_or("plain", Pairing::name), acceleration, mesh)
    });
    println!("{ROUNDS} interleaved rounds of {REQUESTS} requests of 64 B on each connection, byte by byte checked");
    for connections in [1, 16] {
        let requests = REQUESTS / u64::from(connections.min(4));
        // Each round: p50, p99, requests per second, CPU per request; by mesh.
        let mut rounds: Vec<[[f64; 4]; 3]> = Vec::new();
        for round in 0..ROUNDS {
            let mut figures = [[0.0; 4]; 3];
            for step in 0..meshes.len() {
                let at = (round + step) % meshes.len();
                let ran = run(&meshes[at].2, connections, requests, 64);
                let count = ran.latency.requests as f64;
                figures[at] = [
                    ran.latency.p50_ns as f64 / 1e3,
                    ran.latency.p99_ns as f64 / 1e3,
                    count / (ran.latency.elapsed_ns as f64 / 1e9),
                    ran.cpu_usec as f64 / count,
                ];
            }
            rounds.push(figures);
        }
        println!("{connections} connections");
        for (figure, name) in ["p50, us", "p99, us", "requests/s", "CPU/request, us"].into_iter().enumerate() {
            for (mesh, (variant, ..)) in meshes.iter().enumerate() {
                let value = Estimate::of(rounds.iter().map(|round| round[mesh][figure])).unwrap();
                let ratio = Estimate::of(rounds.iter().map(|round| round[mesh][figure] / round[0][figure])).unwrap();
                println!(
                    "  {name:<16} {variant:<11} {:>9.1}   ratio {:.2} [{:.2}, {:.2}]",
                    value.median, ratio.median, ratio.low, ratio.high
                );
            }
        }
    }
    for (_, acceleration, _) in meshes {
        if let Some(acceleration) = acceleration {
            assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
        }
    }
}
