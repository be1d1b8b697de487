//! The three hops of a request through the mesh, and the whole chain, each as a measured workload.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::client::Workload;
use super::process::{Launcher, Process};
use super::report::{Latency, Traffic};
use super::role::Role;
use super::sidecar::Routing;
use super::{APP_ID, Addresses, Error, INBOUND_PORT, NetNs, OUTBOUND_PORT, Pods, SIDECAR_ID};

/// A part of the way from the client to the app. Both sockets of a hop are as in the mesh; what lies beyond is left
/// out, so that its cost is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// Client to its sidecar: the service's address, redirected to port 15001.
    Outbound,
    /// Sidecar to sidecar, across the pods: the app's address, redirected to port 15006.
    BetweenSidecars,
    /// Sidecar to its app: from 127.0.0.6.
    Inbound,
    /// The whole way.
    Chain,
}

impl Hop {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Outbound, Self::BetweenSidecars, Self::Inbound, Self::Chain];

    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outbound => "client -> sidecar",
            Self::BetweenSidecars => "sidecar -> sidecar",
            Self::Inbound => "sidecar -> app",
            Self::Chain => "whole chain",
        }
    }
}

/// How much to send. See [`Workload`] for the fields.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections at a time.
    pub connections: u32,
    /// Requests on each connection before measuring.
    pub warm_up: u64,
    /// Measured requests on each connection.
    pub requests: u64,
    /// Bytes of a request and of its answer.
    pub size: u64,
    /// Chooses the content.
    pub seed: u64,
}

/// What a hop has cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measurement {
    /// Latencies of requests.
    pub latency: Latency,
    /// CPU time of all its processes during the measured requests, in microseconds. `None` without a cgroup, or when
    /// the kernel keeps no account.
    pub cpu_usec: Option<u64>,
    /// Bytes that the client got back and found equal to what it had sent, warm-up included.
    pub checked: u64,
    /// What all its sockets have sent, warm-up included.
    pub traffic: Traffic,
    /// The same by hop, for the whole chain: outbound, between the sidecars, inbound.
    pub parts: Option<[Traffic; 3]>,
}

impl Measurement {
    /// CPU time of a request, in microseconds.
    pub fn cpu_usec_per_request(&self) -> Option<f64> {
        Some(self.cpu_usec? as f64 / self.latency.requests.max(1) as f64)
    }
}

/// Runs a hop once, with processes and connections of its own.
pub fn run(
    hop: Hop,
    pods: &Pods,
    addresses: &Addresses,
    launcher: &Launcher,
    load: Load,
) -> Result<Measurement, Error> {
    let echo =
        |pod: &NetNs, id, port| launcher.spawn(pod, id, Role::Echo { listen: SocketAddr::new(addresses.any, port) });
    let sidecar = |pod: &NetNs| {
        let routing = Routing { service: (addresses.service, addresses.app), inbound_source: addresses.inbound_source };
        launcher.spawn(pod, SIDECAR_ID, Role::Sidecar { any: addresses.any, routing })
    };
    let client = |pod: &NetNs, id, target, source| {
        let Load { connections, warm_up, requests, size, seed } = load;
        launcher.spawn(pod, id, Role::Client(Workload { target, source, connections, warm_up, requests, size, seed }))
    };
    let single = |server: Process, client: Process| {
        let ((latency, sent), cpu_usec) = measure(launcher, client)?;
        let mut traffic = server.finish()?.downstream;
        traffic += sent;
        Ok(Measurement { latency, cpu_usec, checked: sent.written, traffic, parts: None })
    };
    match hop {
        Hop::Outbound => {
            let server = echo(&pods.client, SIDECAR_ID, OUTBOUND_PORT)?;
            single(server, client(&pods.client, APP_ID, addresses.service, None)?)
        }
        Hop::BetweenSidecars => {
            let server = echo(&pods.server, SIDECAR_ID, INBOUND_PORT)?;
            single(server, client(&pods.client, SIDECAR_ID, addresses.app, None)?)
        }
        Hop::Inbound => {
            let server = echo(&pods.server, APP_ID, addresses.app.port())?;
            single(server, client(&pods.server, SIDECAR_ID, addresses.app, Some(addresses.inbound_source))?)
        }
        Hop::Chain => {
            let app = echo(&pods.server, APP_ID, addresses.app.port())?;
            let servers_sidecar = sidecar(&pods.server)?;
            let clients_sidecar = sidecar(&pods.client)?;
            let client = client(&pods.client, APP_ID, addresses.service, None)?;
            let ((latency, sent), cpu_usec) = measure(launcher, client)?;
            let (near, far, app) = (clients_sidecar.finish()?, servers_sidecar.finish()?, app.finish()?);
            let parts = [
                sum(&[sent, near.downstream]),
                sum(&[near.upstream, far.downstream]),
                sum(&[far.upstream, app.downstream]),
            ];
            let checked = sent.written;
            Ok(Measurement { latency, cpu_usec, checked, traffic: sum(&parts), parts: Some(parts) })
        }
    }
}

/// Lets the client measure: its latencies and what it has sent, and the CPU time the cgroup has used meanwhile.
fn measure(launcher: &Launcher, mut client: Process) -> Result<((Latency, Traffic), Option<u64>), Error> {
    let used = || launcher.cgroup.as_deref().and_then(cpu_usec);
    let before = used();
    let latency = client.measure()?;
    let cpu_usec = used().zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(((latency, client.finish()?.upstream), cpu_usec))
}

fn sum(parts: &[Traffic]) -> Traffic {
    parts.iter().fold(Traffic::default(), |mut total, &part| {
        total += part;
        total
    })
}

/// `usage_usec` of a cgroup's cpu.stat. The kernel keeps it with or without the cpu controller, since 4.15:
/// cgroup_base_stat_cputime_show, kernel/cgroup/rstat.c.
fn cpu_usec(cgroup: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}
