//! Which connections may be accelerated, as the user asks for it.

use std::net::{IpAddr, SocketAddr};

use super::{Network, PortRange, Trust};

/// Most entries of each list: the programs grow with their lists, and a jump reaches 32,767 instructions.
pub const MAX_RULES: usize = 256;

/// Which connections may be accelerated. The default is all of them, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Ports of servers: the one a client connects to, and the one the server's own end has. Behind REDIRECT or DNAT
    /// the two differ, and each end decides by its own. Empty: all.
    pub ports: Vec<PortRange>,
    /// Ports of servers to leave alone; wins over [`Policy::ports`].
    pub excluded_ports: Vec<PortRange>,
    /// Networks of which one must hold an end's own address or its peer's, as that end sees them. Empty: all.
    pub networks: Vec<Network>,
    /// Networks to leave alone, by either address; wins over [`Policy::networks`].
    pub excluded_networks: Vec<Network>,
    /// Which ends of servers are served. Each connection has one, which decides by what it sees, for both ends.
    pub servers: Servers,
    /// Which way messages are redirected.
    pub direction: Direction,
    /// Whether cgroups inside the accelerated one can opt out, by [`crate::dataplane::DataPlane::opt_out`].
    pub opt_out: bool,
    /// What becomes of pairs that carry a stream. Anything but the default is an experiment.
    pub streams: Streams,
    /// Which readers get redirected bytes.
    pub trust: Trust,
    /// Does not count what the stack carries: the counter `stack_bytes` stays 0. The benchmark shows by it what counting
    /// costs.
    pub uncounted: bool,
    /// Leaves connections alone whose listener has had only short ones, where their readers would be on probation. For an
    /// agent that adopts those which live longer.
    pub spares_short: bool,
}

/// Ends of servers: where accept(2) returns the socket. Behind REDIRECT they have the port and the address of the program that
/// has accepted, which no client sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Those with one of these ports.
    pub ports: Vec<PortRange>,
    /// Those with an own address, or a client's address, in one of these networks.
    pub networks: Vec<Network>,
}

impl Servers {
    /// Whether all are served: none is named.
    pub fn are_all(&self) -> bool {
        self.ports.is_empty() && self.networks.is_empty()
    }

    fn hold(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let by_port = self.ports.iter().any(|range| range.holds(local.port()));
        self.are_all() || by_port || lies_in(&self.networks, [local.ip(), remote.ip()])
    }
}

impl Policy {
    /// Whether the rules for ports and addresses admit an end with these addresses, which has called connect(2) or, as the
    /// `is_server`, has been accepted. What the sock_ops program decides is the same.
    pub fn admits(&self, is_server: bool, local: SocketAddr, remote: SocketAddr) -> bool {
        let port = if is_server { local.port() } else { remote.port() };
        let named = |ranges: &[PortRange]| ranges.iter().any(|range| range.holds(port));
        let addresses = [local.ip(), remote.ip()];
        (self.ports.is_empty() || named(&self.ports))
            && !named(&self.excluded_ports)
            && (self.networks.is_empty() || lies_in(&self.networks, addresses))
            && !lies_in(&self.excluded_networks, addresses)
            && (!is_server || self.servers.hold(local, remote))
    }
}

/// Whether one of the networks holds one of the addresses.
fn lies_in(networks: &[Network], addresses: [IpAddr; 2]) -> bool {
    networks.iter().any(|network| addresses.iter().any(|address| network.holds(*address)))
}

/// Which way messages are redirected; the other way they take the stack, although both ends are in the sockhash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only from the server to the client, the end that has called connect(2).
    ToActive,
    /// Only from the client to the server.
    ToPassive,
}

/// What becomes of a pair when more is unread than its bounds permit, which is what a stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Streams {
    /// It leaves the sockhash.
    #[default]
    Leave,
    /// It stays, and the stack carries what finds no room, until all has been read.
    Stay,
    /// It stays as long as a byte takes less time so than by the stack alone, which is measured from time to time.
    Auto,
}

impl Streams {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Leave, Self::Stay, Self::Auto];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Stay => "stay",
            Self::Auto => "auto",
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) enum Side {
    /// It has called connect(2).
    Active,
    /// accept(2) returns it.
    Passive,
}

impl Direction {
    /// Whether the messages of `sender` take the stack.
    pub(in crate::dataplane) fn keeps(self, sender: Side) -> bool {
        matches!((self, sender), (Self::ToActive, Side::Active) | (Self::ToPassive, Side::Passive))
    }
}
