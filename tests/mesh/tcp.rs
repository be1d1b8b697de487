//! Envoy as a TCP proxy on both sides, between the testbed's own client and app, which check every byte.

use std::net::SocketAddr;
use std::time::Duration;

use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::{APP_ID, Addresses, Latency, Process, Report, Role, Workload};

use crate::envoy::{self, Proxying};
use crate::mesh::Mesh;

/// What a client and the app have sent, and how it went.
pub(crate) struct Ran {
    pub(crate) latency: Latency,
    /// CPU time of all processes of the mesh during the measured requests, microseconds.
    pub(crate) cpu_usec: u64,
    reports: [Report; 2],
}

/// Runs a client against an echo server through the mesh.
pub(crate) fn run(mesh: &Mesh, connections: u32, requests: u64, size: u64) -> Ran {
    let v4 = &Addresses::V4;
    let launcher = crate::launcher(mesh.cgroup());
    let app = Role::Echo { listen: SocketAddr::new(v4.any, v4.app.port()) };
    let app: Process = launcher.spawn(&mesh.pods.server, APP_ID, app).unwrap();
    let workload = Workload { target: v4.service, source: None, connections, warm_up: 1, requests, size, seed: 5 };
    let mut client = launcher.spawn(&mesh.pods.client, APP_ID, Role::Client(workload)).unwrap();
    let before = mesh.cpu_usec();
    let latency = client.measure().unwrap();
    let cpu_usec = mesh.cpu_usec() - before;
    assert_eq!(latency.requests, u64::from(connections) * requests);
    let sent = client.finish().unwrap();
    Ran { latency, cpu_usec, reports: [sent, app.finish().unwrap()] }
}

#[test]
fn all_six_sockets_are_accelerated() {
    let Some(envoy) = envoy::binary() else { return };
    for pairing in [Pairing::Sequence, Pairing::FourTuple] {
        let mesh = Mesh::new(&envoy, Proxying::Tcp);
        let acceleration = mesh.accelerate(pairing);
        let reports = run(&mesh, 4, 1000, 1000).reports;
        let snapshot = acceleration.snapshot().unwrap();
        // Three hops for each connection of the client.
        assert_eq!(snapshot.get(Counter::Paired), 12, "{pairing:?}");
        // Six sends carry a request and its answer. Only the warm-up may take the stack: a first message comes before
        // its receiver is accepted.
        let (redirected, sends) = (snapshot.get(Counter::RedirectedMessages), 6 * 4 * 1000);
        assert!(redirected >= sends, "{pairing:?}: {redirected} of {sends} messages were redirected");
        for traffic in [reports[0].upstream, reports[1].downstream] {
            assert!(traffic.by_stack <= 4 * 1000, "{pairing:?}: {traffic:?}");
        }
        assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
    }
}

#[test]
fn a_hundred_megabytes_arrive_whole_in_both_directions() {
    let Some(envoy) = envoy::binary() else { return };
    let mesh = Mesh::new(&envoy, Proxying::Tcp);
    let acceleration = mesh.accelerate(Pairing::Sequence);
    // One request and its answer at a time, sent and read at once; the warm-up is the first half.
    run(&mesh, 1, 1, 50_000_000);
    assert_eq!(acceleration.snapshot().unwrap().get(Counter::Paired), 3);
    assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
}
