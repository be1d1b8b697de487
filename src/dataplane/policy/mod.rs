//! Which connections may be accelerated: by the server's port, by address, by direction, by cgroup.
//!
//! Each end decides for itself when its connection is established, by what it sees; a connection is accelerated when
//! both ends agree. An end that is left alone never enters the sockhash. What is not asked for costs nothing: no
//! instruction is emitted for it.

mod network;
mod opt_out;
mod port;

pub use network::Network;
pub use port::PortRange;

use super::counters::Counter;
use super::emit::{count, known_storage, map_delete};
use super::maps::MapRole;
use super::pairing::address::End;
use super::{Options, callbacks, storage};
use crate::asm::Reg::{R1, R7};
use crate::asm::{Asm, Cond, Label, Size};

pub(super) use opt_out::build as opt_out_program;

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
    /// Whether cgroups inside the accelerated one can opt out, by [`super::DataPlane::opt_out`].
    pub opt_out: bool,
}

/// Which way messages are redirected; the other way they take the stack, although both ends are in the sockhash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
pub(super) enum Side {
    /// It has called connect(2).
    Active,
    /// accept(2) returns it.
    Passive,
}

impl Direction {
    /// Whether the messages of `sender` take the stack.
    pub(super) fn keeps(self, sender: Side) -> bool {
        matches!((self, sender), (Self::ToActive, Side::Active) | (Self::ToPassive, Side::Passive))
    }
}

/// Goes on when the policy admits the socket of the context (R6), else to `out`. Uses R7 and R8, and the stack's bytes
/// from `slot` to `slot + 32`.
#[track_caller]
pub(super) fn admit(a: &mut Asm, options: &Options, side: Side, slot: i16, out: Label) {
    let policy = &options.policy;
    let ports = port::boundaries(&policy.ports, &policy.excluded_ports);
    let by_network = !policy.networks.is_empty() || !policy.excluded_networks.is_empty();
    if ports.is_none() && !by_network && !policy.opt_out {
        return;
    }
    let [excluded, admitted] = ["excluded", "admitted"].map(|name| a.label(name));
    if let Some(boundaries) = ports {
        a.comment("the server's port");
        port::require(a, &boundaries, if side == Side::Active { End::Remote } else { End::Local }, excluded);
    }
    if by_network {
        a.comment("either address");
        network::require(a, &policy.networks, &policy.excluded_networks, slot, excluded);
    }
    if policy.opt_out {
        opt_out::require_unmarked(a, excluded);
    }
    a.goto(admitted);
    a.bind(excluded);
    count(a, Counter::Excluded, 1);
    match side {
        Side::Active => forget_last_connection(a, options, out),
        Side::Passive => a.goto(out),
    }
    a.bind(admitted);
}

/// Takes a socket out of the sockhash that was in it with another connection, and goes to `out`: a socket that has been
/// disconnected by connect(AF_UNSPEC) keeps its storage, its place, and its peer of before.
#[track_caller]
pub(super) fn forget_last_connection(a: &mut Asm, options: &Options, out: Label) {
    known_storage(a, out);
    a.jump(Cond::Gt, R1, storage::PAIRED, out);
    map_delete(a, MapRole::Sockets, R7, storage::own_key(options.pairing));
    a.store(Size::W, R7, storage::STATE, storage::PLAIN);
    callbacks::drop(a, options);
    a.goto(out);
}
