//! Two looks, some time apart: who talks to whom, how much, and what of it can be accelerated.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use super::conditions::{Condition, conditions};
use super::costs::Costs;
use super::observer::Observed;
use super::process::{End, Processes, place};
use super::route::Route;
use super::ruling::Ruling;
use crate::sockets::{Connection, Record};

/// What was seen between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Survey {
    /// Seconds between the looks.
    pub seconds: f64,
    /// Pairs of programs, the busiest first.
    pub groups: Vec<Group>,
    /// Connections whose other end is not on this machine, or was not recognised.
    pub single_ends: usize,
    /// Bytes per second of these, both ways.
    pub single_bytes_per_second: f64,
    /// CPU time that acceleration would save, in CPUs (1.0 is one whole CPU); nothing without a calibration.
    pub saved_cpus: Option<f64>,
    /// What messages cost here, of which the estimates are made; nothing without a calibration.
    pub costs: Option<Costs>,
}

/// All connections between two programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// The program that connects, as an operator knows it.
    pub client: String,
    /// The kernel's name of it.
    pub client_comm: String,
    /// Its cgroup.
    pub client_cgroup: Option<String>,
    /// Its pod, as namespace/name; nothing when it is in none, or the container runtime has not named it.
    pub client_pod: Option<String>,
    /// The UID of its pod, which its cgroup bears; nothing when it is in none.
    pub client_pod_uid: Option<String>,
    /// The program that accepts, as an operator knows it.
    pub server: String,
    /// The kernel's name of it.
    pub server_comm: String,
    /// Its cgroup.
    pub server_cgroup: Option<String>,
    /// Its pod, likewise.
    pub server_pod: Option<String>,
    /// The UID of its pod, likewise.
    pub server_pod_uid: Option<String>,
    /// Connections at the second look.
    pub connections: usize,
    /// Bytes per second that TCP carried, both ways.
    pub bytes_per_second: f64,
    /// Segments with data per second, both ways. A message of up to 64 KiB is one segment over loopback.
    pub segments_per_second: f64,
    /// Bytes per second of those connections that would be accelerated, without what the policy keeps on the stack
    /// (`--direction`).
    pub eligible_bytes_per_second: f64,
    /// Segments with data per second of these.
    pub eligible_segments_per_second: f64,
    /// What of that takes which way.
    pub routes: Vec<RouteTraffic>,
    /// CPU time that acceleration would save, in CPUs (1.0 is one whole CPU); nothing without a calibration.
    pub saved_cpus: Option<f64>,
    /// Share of the connections that would be accelerated, 0 to 1.
    pub eligible_share: f64,
    /// Why the others would not be.
    pub why_not: Vec<Why>,
}

/// What the connections of a group that would be accelerated carry on one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteTraffic {
    /// The way: loopback, loopback_tracked, veth or veth_tracked.
    pub route: Route,
    /// Connections that would be accelerated.
    pub eligible: usize,
    /// Bytes per second, both ways.
    pub bytes_per_second: f64,
    /// Segments with data per second, both ways.
    pub segments_per_second: f64,
}

/// A condition that does not hold for some connections of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Why {
    /// The condition.
    pub condition: Condition,
    /// For how many connections it does not hold.
    pub connections: usize,
}

impl Group {
    /// Whether an end is in a pod.
    pub fn is_of_pods(&self) -> bool {
        self.client_pod_uid.is_some() || self.server_pod_uid.is_some()
    }

    /// Where the two programs run: the pod, or else the cgroup.
    pub fn places(&self) -> [String; 2] {
        [place(&self.client_pod, &self.client_cgroup), place(&self.server_pod, &self.server_cgroup)]
    }
}

impl Survey {
    /// Compares two looks that were `elapsed` apart. A policy rules on each connection; by default it admits all.
    pub fn between(
        before: &Observed,
        after: &Observed,
        elapsed: Duration,
        processes: &mut Processes,
        rule: impl Fn(&[End; 2], &Connection) -> Ruling,
    ) -> Self {
        // A look takes time itself, so that even two in a row are not at the same moment.
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let known = traffic(before);
        let gained = |record: &Record| match known.get(&record.inode) {
            Some(then) => Traffic::of(record).since(*then),
            None => Traffic::of(record),
        };
        let mut groups: BTreeMap<[Option<String>; 4], Tally> = BTreeMap::new();
        for connection in &after.connections.local {
            let ends = [&connection.client, &connection.server].map(|record| processes.end(record));
            let ruling = rule(&ends, connection);
            let [client, server] = ends;
            let key = [
                Some(client.process.clone()),
                client.cgroup.clone(),
                Some(server.process.clone()),
                server.cgroup.clone(),
            ];
            let tally = groups.entry(key).or_insert_with(|| Tally::new(client, server));
            let mut hindrances = conditions(connection, processes);
            hindrances.retain(|one| !(one.holds || ruling.any_reader && one.is_of_blocking()));
            hindrances.extend(ruling.refusals);
            let sent = [gained(&connection.client), gained(&connection.server)];
            tally.add(connection, hindrances, sent, ruling.kept);
        }
        let mut groups: Vec<_> = groups.into_values().map(|tally| tally.finish(seconds)).collect();
        groups.sort_by(|a, b| b.segments_per_second.total_cmp(&a.segments_per_second));
        let single = &after.connections.single;
        let single_bytes: u64 = single.iter().map(gained).map(|traffic| traffic.sent + traffic.received).sum();
        Self {
            seconds,
            groups,
            single_ends: single.len(),
            single_bytes_per_second: single_bytes as f64 / seconds,
            saved_cpus: None,
            costs: None,
        }
    }
}

impl Survey {
    /// Says what acceleration would save, with what messages cost on this machine. Assumes that all messages of connections
    /// that can be accelerated are.
    pub fn estimate(&mut self, costs: Costs) {
        for group in &mut self.groups {
            let saved_ns = group.routes.iter().map(|one| {
                let bytes = one.bytes_per_second / one.segments_per_second.max(f64::MIN_POSITIVE);
                one.segments_per_second * costs.saved_ns(one.route, bytes)
            });
            group.saved_cpus = Some(saved_ns.sum::<f64>() / 1e9);
        }
        self.saved_cpus = Some(self.groups.iter().filter_map(|group| group.saved_cpus).sum());
        self.costs = Some(costs);
    }
}

/// What a socket has carried by the stack.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    sent: u64,
    received: u64,
    segments_sent: u32,
}

impl Traffic {
    fn of(record: &Record) -> Self {
        Self { sent: record.bytes_acked, received: record.bytes_received, segments_sent: record.data_segments[0] }
    }

    fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
            segments_sent: self.segments_sent.wrapping_sub(before.segments_sent),
        }
    }
}

/// By inode number, which no other socket has while this one lives.
fn traffic(observed: &Observed) -> HashMap<u64, Traffic> {
    let local = observed.connections.local.iter().flat_map(|one| [&one.client, &one.server]);
    local.chain(&observed.connections.single).map(|record| (record.inode, Traffic::of(record))).collect()
}

/// What connections that would be accelerated have carried.
#[derive(Clone, Copy, Debug, Default)]
struct Eligible {
    connections: usize,
    bytes: u64,
    segments: u64,
}

struct Tally {
    client: End,
    server: End,
    connections: usize,
    bytes: u64,
    segments: u64,
    eligible: BTreeMap<Route, Eligible>,
    failed: BTreeMap<&'static str, Why>,
}

impl Tally {
    fn new(client: End, server: End) -> Self {
        Self {
            client,
            server,
            connections: 0,
            bytes: 0,
            segments: 0,
            eligible: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    fn add(&mut self, connection: &Connection, hindrances: Vec<Condition>, sent: [Traffic; 2], kept: [bool; 2]) {
        self.connections += 1;
        let mut eligible = hindrances.is_empty().then(|| self.eligible.entry(Route::of(connection)).or_default());
        if let Some(eligible) = &mut eligible {
            eligible.connections += 1;
        }
        for (Traffic { sent, segments_sent, .. }, kept) in sent.into_iter().zip(kept) {
            let segments = u64::from(segments_sent);
            self.bytes += sent;
            self.segments += segments;
            if let Some(eligible) = eligible.as_mut().filter(|_| !kept) {
                eligible.bytes += sent;
                eligible.segments += segments;
            }
        }
        for condition in hindrances {
            self.failed.entry(condition.code).or_insert(Why { condition, connections: 0 }).connections += 1;
        }
    }

    fn finish(self, seconds: f64) -> Group {
        let rate = |number: u64| number as f64 / seconds;
        let routes: Vec<_> = self
            .eligible
            .into_iter()
            .map(|(route, Eligible { connections, bytes, segments })| RouteTraffic {
                route,
                eligible: connections,
                bytes_per_second: rate(bytes),
                segments_per_second: rate(segments),
            })
            .collect();
        let eligible: usize = routes.iter().map(|one| one.eligible).sum();
        Group {
            client: self.client.process,
            client_comm: self.client.comm,
            client_cgroup: self.client.cgroup,
            client_pod: self.client.pod,
            client_pod_uid: self.client.pod_uid,
            server: self.server.process,
            server_comm: self.server.comm,
            server_cgroup: self.server.cgroup,
            server_pod: self.server.pod,
            server_pod_uid: self.server.pod_uid,
            connections: self.connections,
            bytes_per_second: rate(self.bytes),
            segments_per_second: rate(self.segments),
            eligible_bytes_per_second: routes.iter().map(|one| one.bytes_per_second).sum(),
            eligible_segments_per_second: routes.iter().map(|one| one.segments_per_second).sum(),
            routes,
            saved_cpus: None,
            eligible_share: eligible as f64 / self.connections.max(1) as f64,
            why_not: self.failed.into_values().collect(),
        }
    }
}
