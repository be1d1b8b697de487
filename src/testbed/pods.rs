//! Two pods: namespaces joined by a veth pair, with addresses, routes and Istio's redirection.

use std::os::fd::AsFd;

use super::redirect::{self, Family};
use super::rtnetlink::Link;
use super::{Addresses, Error, NetNs, rtnetlink};

/// A client's pod and a server's pod.
///
/// They vanish with this value and the processes in them.
#[derive(Debug)]
pub struct Pods {
    /// Where the client runs.
    pub client: NetNs,
    /// Where the app runs.
    pub server: NetNs,
}

impl Pods {
    /// Makes both pods. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN. `ipv6` adds IPv6 beside IPv4.
    pub fn new(ipv6: bool) -> Result<Self, Error> {
        let families: &[_] = if ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] };
        let pods = Self::joined(families)?;
        for pod in [&pods.client, &pods.server] {
            redirect::install(pod, families)?;
        }
        Ok(pods)
    }

    /// Makes both pods with IPv4 and without redirection, so that no connection is tracked in them.
    pub fn without_sidecars() -> Result<Self, Error> {
        Self::joined(&[Family::V4])
    }

    fn joined(families: &[Family]) -> Result<Self, Error> {
        let pods = Self { client: NetNs::new()?, server: NetNs::new()? };
        let server = pods.server.as_fd();
        pods.client.run(|| rtnetlink::add_veth(server))??;
        for (pod, is_client) in [(&pods.client, true), (&pods.server, false)] {
            pod.run(|| configure(families, is_client))??;
        }
        Ok(pods)
    }
}

/// Gives the calling thread's namespace its addresses and routes.
fn configure(families: &[Family], is_client: bool) -> Result<(), Error> {
    // BBR, the default on some hosts, paces: comparisons would measure its timers.
    sysctl("net/ipv4/tcp_congestion_control", "reno")?;
    rtnetlink::set_up(Link::LOOPBACK)?;
    rtnetlink::set_up(Link::POD)?;
    for family in families {
        let addresses = match family {
            Family::V4 => &Addresses::V4,
            Family::V6 => &Addresses::V6,
        };
        let pod = if is_client { addresses.client_pod } else { addresses.server_pod };
        rtnetlink::add_address(Link::POD, pod, addresses.prefix)?;
        if pod.is_ipv6() {
            // 127.0.0.0/8 is local as a whole; of IPv6 only what is added.
            rtnetlink::add_address(Link::LOOPBACK, addresses.inbound_source, 128)?;
        }
        // The service's address needs a route, or connect(2) fails before redirection can act.
        rtnetlink::add_default_route(Link::POD, pod)?;
    }
    Ok(())
}

/// Writes a sysctl of the calling thread's namespace: files below /proc/sys/net are those of the process that opens them.
fn sysctl(path: &'static str, value: &'static str) -> Result<(), Error> {
    std::fs::write(std::path::Path::new("/proc/sys").join(path), value).map_err(|source| Error::Sysctl {
        path,
        value,
        source,
    })
}
