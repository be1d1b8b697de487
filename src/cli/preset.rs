//! Policies for arrangements that many users have.
//!
//! A preset names ends of servers, since a REDIRECT rule gives a connection two ports, and only the end that the proxy has
//! accepted shows which proxy it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dataplane::{Network, PortRange, Servers};

/// An arrangement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// A sidecar proxy of Istio in each pod.
    IstioSidecar,
    /// A ztunnel of Istio's ambient mode on each node.
    IstioAmbient,
    /// Programs that talk over loopback addresses.
    Local,
}

/// The words for the flag.
pub(super) const PRESETS: [(&str, Preset); 3] =
    [("istio-sidecar", Preset::IstioSidecar), ("istio-ambient", Preset::IstioAmbient), ("local", Preset::Local)];

/// Ports to which Istio's rules redirect (istio.io, "Ports used by Istio", and "Ztunnel traffic redirection"): 15001 what an
/// application sends out, 15006 what comes in, 15008 what comes in by mutual TLS (HBONE). A ztunnel listens on the same ones
/// within each pod.
const ISTIO_PORTS: [u16; 3] = [15001, 15006, 15008];

/// From where a sidecar connects to its application: the cluster InboundPassthroughCluster binds to these addresses, which
/// Istio's rules leave alone (`InboundPassthroughBindIpv4` and `...Ipv6` in Istio's pilot).
const PASSTHROUGH: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)), IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))];

impl Preset {
    fn servers(self) -> Servers {
        let ports = ISTIO_PORTS.map(|port| PortRange { first: port, last: port }).to_vec();
        match self {
            Self::IstioSidecar => {
                let networks = PASSTHROUGH
                    .iter()
                    .filter_map(|address| Network::new(*address, if address.is_ipv4() { 32 } else { 128 }));
                Servers { ports, networks: networks.collect() }
            }
            Self::IstioAmbient => Servers { ports, networks: Vec::new() },
            Self::Local => {
                let loopback = [(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
                let networks = loopback.iter().filter_map(|(address, prefix)| Network::new(*address, *prefix));
                Servers { ports: Vec::new(), networks: networks.collect() }
            }
        }
    }
}

/// What these presets serve together: each end of a server that one of them names.
pub(super) fn servers(presets: &[Preset]) -> Servers {
    let mut all = Servers::default();
    for servers in presets.iter().map(|preset| preset.servers()) {
        all.ports.extend(servers.ports);
        all.networks.extend(servers.networks);
    }
    all
}

/// The word for it.
pub(super) fn name(preset: Preset) -> &'static str {
    PRESETS.iter().find(|(_, known)| *known == preset).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::dataplane::Policy;

    /// Which of the two ends are admitted: the client's, then the server's.
    fn admitted(presets: &[Preset], hop: [[&str; 2]; 2]) -> [bool; 2] {
        let policy = Policy { servers: servers(presets), ..Policy::default() };
        let [client, server] = hop.map(|ends| ends.map(|end| end.parse::<SocketAddr>().unwrap()));
        [policy.admits(false, client[0], client[1]), policy.admits(true, server[0], server[1])]
    }

    #[test]
    fn a_preset_names_its_hops_and_no_other() {
        // Own address and the peer's, of the client and of the server, as each sees them.
        let outbound = [["10.0.0.2:40000", "10.96.0.9:80"], ["127.0.0.1:15001", "10.0.0.2:40000"]];
        let inbound = [["10.0.0.3:40000", "10.0.0.2:8080"], ["10.0.0.2:15006", "10.0.0.3:40000"]];
        let hbone = [["10.0.0.3:40000", "10.0.0.2:15008"], ["10.0.0.2:15008", "10.0.0.3:40000"]];
        let to_app = [["127.0.0.6:40000", "10.0.0.2:8080"], ["10.0.0.2:8080", "127.0.0.6:40000"]];
        let to_app_v6 = [["[::6]:40000", "[fd00::2]:8080"], ["[fd00::2]:8080", "[::6]:40000"]];
        let loopback = [["127.0.0.1:40000", "127.0.0.1:6379"], ["127.0.0.1:6379", "127.0.0.1:40000"]];
        let direct = [["10.0.0.3:40000", "10.0.0.2:6379"], ["10.0.0.2:6379", "10.0.0.3:40000"]];
        let both = [true, true];
        // The client cannot tell; without the server's end no pair comes about.
        let no_pair = [true, false];
        for hop in [outbound, inbound, hbone] {
            assert_eq!(admitted(&[Preset::IstioSidecar], hop), both, "{hop:?}");
            assert_eq!(admitted(&[Preset::IstioAmbient], hop), both, "{hop:?}");
        }
        for hop in [to_app, to_app_v6] {
            assert_eq!(admitted(&[Preset::IstioSidecar], hop), both, "{hop:?}");
            assert_eq!(admitted(&[Preset::IstioAmbient], hop), no_pair, "{hop:?}");
        }
        for preset in [Preset::IstioSidecar, Preset::IstioAmbient] {
            assert_eq!(admitted(&[preset], loopback), no_pair, "{preset:?}");
            assert_eq!(admitted(&[preset, Preset::Local], loopback), both, "{preset:?}");
        }
        for presets in [&[Preset::IstioSidecar][..], &[Preset::IstioAmbient], &[Preset::Local]] {
            assert_eq!(admitted(presets, direct), no_pair, "{presets:?}");
        }
        assert_eq!(admitted(&[Preset::Local], hbone), no_pair);
    }
}
