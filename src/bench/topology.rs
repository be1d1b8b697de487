//! The network namespaces a run takes place in.

use std::net::{IpAddr, SocketAddr};

use super::cell::Link;
use super::error::{Result, system};
use crate::testbed::{APP_ID, Addresses, NetNs, Pods, SIDECAR_ID};

/// All namespaces.
#[derive(Debug)]
pub(super) struct Topology {
    loopback: NetNs,
    bare: Pods,
    redirected: Pods,
}

/// Where the two ends of a cell are.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) client: &'a NetNs,
    pub(super) server: &'a NetNs,
    /// User ids of client and server; Istio's rules look at the client's.
    pub(super) ids: (u32, u32),
    /// Where the server listens: port 0 is any.
    pub(super) listen: SocketAddr,
    /// Where the client connects; port 0 is the one the server got.
    pub(super) connect: SocketAddr,
}

impl Topology {
    pub(super) fn new() -> Result<Self> {
        let topology =
            Self { loopback: NetNs::with_loopback()?, bare: Pods::without_sidecars()?, redirected: Pods::new(false)? };
        let pods = [&topology.bare, &topology.redirected];
        for netns in pods.iter().flat_map(|pods| [&pods.client, &pods.server]).chain([&topology.loopback]) {
            netns.run(|| {
                // BBR, the default on some hosts, paces: its timers would be measured.
                set("net/ipv4/tcp_congestion_control", "reno")?;
                // Short connections leave TIME_WAIT sockets; unbounded, the search for a free port would grow from
                // round to round.
                set("net/ipv4/tcp_max_tw_buckets", "1024")?;
                set("net/ipv4/ip_local_port_range", "10000 65000")
            })??;
        }
        // Connections that were closed a minute ago would fill the table.
        for netns in [&topology.redirected.client, &topology.redirected.server] {
            netns.run(|| set("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"))??;
        }
        Ok(topology)
    }

    /// The place for a cell; `port` tells variants apart where the listener's port is not free to choose.
    pub(super) fn site(&self, link: Link, port: u16) -> Site<'_> {
        let v4 = &Addresses::V4;
        let at = |ip: IpAddr, port| SocketAddr::new(ip, port);
        match link {
            Link::Loopback => Site {
                client: &self.loopback,
                server: &self.loopback,
                ids: (APP_ID, APP_ID),
                listen: at(v4.loopback, 0),
                connect: at(v4.loopback, 0),
            },
            Link::Veth => Site {
                client: &self.bare.client,
                server: &self.bare.server,
                ids: (APP_ID, APP_ID),
                listen: at(v4.server_pod, 0),
                connect: at(v4.server_pod, 0),
            },
            // HBONE's port is not redirected, but its connections are tracked like all others; ports 15020, 15021 and
            // 15090 likewise. That gives every variant a listener of its own.
            Link::VethConntrack => Site {
                client: &self.redirected.client,
                server: &self.redirected.server,
                ids: (SIDECAR_ID, SIDECAR_ID),
                listen: at(v4.any, port),
                connect: at(v4.server_pod, port),
            },
        }
    }
}

fn set(path: &str, value: &str) -> Result<()> {
    std::fs::write(std::path::Path::new("/proc/sys").join(path), value)
        .map_err(system("set a sysctl of a network namespace"))
}
