//! Istio's NAT rules as data.
//!
//! Istio writes them with iptables chains of its own (ISTIO_INBOUND, ISTIO_OUTPUT, ...), all of which end in RETURN or
//! in a REDIRECT; flattened into the two built-in chains they mean the same. The order is Istio's.

use std::net::IpAddr;

use super::Family;
use crate::testbed::address::{Addresses, INBOUND_PORT, OUTBOUND_PORT, SIDECAR_ID};

/// A chain of the nat table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// Packets that enter the pod.
    Prerouting,
    /// Packets made in the pod.
    Output,
}

impl Chain {
    /// Both chains.
    pub(super) const ALL: [Self; 2] = [Self::Prerouting, Self::Output];

    /// iptables' name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Output => "OUTPUT",
        }
    }
}

/// One condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The protocol is TCP.
    Tcp,
    /// TCP's destination port is, or is not, this one.
    DestinationPort(u16, bool),
    /// It leaves by the loopback link.
    OutLoopback,
    /// The source address is this one.
    Source(IpAddr),
    /// The destination address is, or is not, this one.
    Destination(IpAddr, bool),
    /// The sender's user id is, or is not, this one.
    Uid(u32, bool),
    /// The sender's group id is, or is not, this one.
    Gid(u32, bool),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Leave the packet as it is.
    Return,
    /// Send it to this local port.
    Redirect(u16),
}

/// A rule: all its conditions, then its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Where it stands.
    pub(super) chain: Chain,
    /// What must hold.
    pub(super) matches: Vec<Match>,
    /// What then happens.
    pub(super) verdict: Verdict,
}

/// HBONE; never captured.
const TUNNEL_PORT: u16 = 15008;
/// Ports the sidecar itself serves to the outside: HBONE, Prometheus, health, agent.
const SIDECAR_PORTS: [u16; 4] = [TUNNEL_PORT, 15090, 15021, 15020];

/// The rules for one family, in order.
pub(super) fn istio(family: Family) -> Vec<Rule> {
    use Match::{Destination, DestinationPort, Gid, OutLoopback, Source, Tcp, Uid};
    let addresses = match family {
        Family::V4 => &Addresses::V4,
        Family::V6 => &Addresses::V6,
    };
    let (loopback, sidecar) = (addresses.loopback, SIDECAR_ID);
    let to_inbound = Verdict::Redirect(INBOUND_PORT);
    let input = |matches, verdict| Rule { chain: Chain::Prerouting, matches, verdict };
    let output = |matches, verdict| Rule { chain: Chain::Output, matches, verdict };

    let mut rules: Vec<Rule> =
        SIDECAR_PORTS.iter().map(|&port| input(vec![Tcp, DestinationPort(port, true)], Verdict::Return)).collect();
    rules.push(input(vec![Tcp], to_inbound));
    // The sidecar hands an inbound connection to the app: its mark is the source address.
    rules.push(output(vec![OutLoopback, Source(addresses.inbound_source)], Verdict::Return));
    type Owner = fn(u32, bool) -> Match;
    for owner in [Uid as Owner, Gid as Owner] {
        // An app calls itself by way of its sidecar: the second half of the way.
        rules.push(output(
            vec![
                OutLoopback,
                Destination(loopback, false),
                Tcp,
                DestinationPort(TUNNEL_PORT, false),
                owner(sidecar, true),
            ],
            to_inbound,
        ));
        // Processes of the pod talk to each other directly.
        rules.push(output(vec![OutLoopback, owner(sidecar, false)], Verdict::Return));
        // What the sidecar sends has been through the sidecar.
        rules.push(output(vec![owner(sidecar, true)], Verdict::Return));
    }
    rules.push(output(vec![Destination(loopback, true)], Verdict::Return));
    rules.push(output(vec![Tcp], Verdict::Redirect(OUTBOUND_PORT)));
    rules
}
