//! Which connections may be accelerated: by the server's port, by address, by direction, by cgroup.
//!
//! Each end decides for itself when its connection is established, by what it sees; a connection is accelerated when
//! both ends agree. An end that is left alone never enters the sockhash. What is not asked for costs nothing: no
//! instruction is emitted for it.

mod network;
mod opt_out;
mod port;

use crate::asm::Reg::{R1, R7};
use crate::asm::{Asm, Cond, Label, Size};
use crate::dataplane::emit::{count, known_storage, map_delete};
use crate::dataplane::membership::callbacks;
use crate::dataplane::options::{Options, Side};
use crate::dataplane::pairing::address::End;
use crate::dataplane::state::{Counter, MapRole, socket};

/// Goes on when the policy admits the socket of the context (R6), else to `out`. Uses R7 and R8, and the stack's bytes
/// from `slot` to `slot + 32`.
#[track_caller]
pub(in crate::dataplane) fn admit(a: &mut Asm, options: &Options, side: Side, slot: i16, out: Label) {
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
pub(in crate::dataplane) fn forget_last_connection(a: &mut Asm, options: &Options, out: Label) {
    known_storage(a, out);
    a.jump(Cond::Gt, R1, socket::PAIRED, out);
    map_delete(a, MapRole::Sockets, R7, socket::own_key(options.pairing));
    a.store(Size::W, R7, socket::STATE, socket::PLAIN);
    callbacks::drop(a, options);
    a.goto(out);
}
