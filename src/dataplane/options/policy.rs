//! Which connections may be accelerated, as the user asks for it.

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
    /// Which way messages are redirected.
    pub direction: Direction,
    /// Whether cgroups inside the accelerated one can opt out, by [`crate::dataplane::DataPlane::opt_out`].
    pub opt_out: bool,
    /// Which readers get redirected bytes.
    pub trust: Trust,
    /// Does not count what the stack carries: the counter `stack_bytes` stays 0. The benchmark shows by it what counting
    /// costs.
    pub uncounted: bool,
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
