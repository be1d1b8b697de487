//! The way that the packets of a local connection take, on which their cost depends.

use serde::Serialize;

use crate::sockets::Connection;

/// What packets pass between two ends on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The loopback device.
    Loopback,
    /// The loopback device, with connection tracking and NAT.
    LoopbackTracked,
    /// A link between two network namespaces.
    Veth,
    /// A link between two network namespaces, with connection tracking and NAT.
    VethTracked,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Loopback, Self::LoopbackTracked, Self::Veth, Self::VethTracked];

    /// The way between the ends of `connection`. Tracking in a namespace between those of the two ends is seen only when it
    /// translates an address.
    pub fn of(connection: &Connection) -> Self {
        let [client, server] = [&connection.client, &connection.server];
        // An IPv6 socket shows an IPv4 address as a mapped one.
        let differs = |a: std::net::SocketAddr, b: std::net::SocketAddr| {
            (a.ip().to_canonical(), a.port()) != (b.ip().to_canonical(), b.port())
        };
        let translated = differs(client.local, server.remote) || differs(client.remote, server.local);
        let tracked = translated || client.tracked || server.tracked;
        match (client.netns == server.netns, tracked) {
            (true, false) => Self::Loopback,
            (true, true) => Self::LoopbackTracked,
            (false, false) => Self::Veth,
            (false, true) => Self::VethTracked,
        }
    }

    /// Whether connection tracking sees its packets.
    pub const fn is_tracked(self) -> bool {
        matches!(self, Self::LoopbackTracked | Self::VethTracked)
    }
}
