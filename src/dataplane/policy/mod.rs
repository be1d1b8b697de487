//! Which connections may be accelerated: by the server's port, by address, by direction, by cgroup, by who reads.
//!
//! Each end decides for itself when its connection is established, by what it sees; a connection is accelerated when
//! both ends agree. An end that is left alone never enters the sockhash. What is not asked for costs nothing: no
//! instruction is emitted for it.

mod network;
mod opt_out;
mod port;
mod server;
pub(in crate::dataplane) mod trust;

use crate::asm::Reg::{R1, R7, R8};
use crate::asm::{Asm, Base, Label, Uses};
use crate::dataplane::emit::{count, known_storage, map_delete};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::membership::callbacks;
use crate::dataplane::options::{Options, Side};
use crate::dataplane::pairing::address::End;
use crate::dataplane::state::socket::{self, Head, OWN};
use crate::dataplane::state::{Counter, MapRole};

/// Goes on when the policy admits the socket of the context, else to `out`.
#[track_caller]
pub(in crate::dataplane) fn admit(a: &mut Asm, options: &Options, side: Side, out: Label) {
    let policy = &options.policy;
    let ports = port::boundaries(&policy.ports, &policy.excluded_ports);
    let by_network = !policy.networks.is_empty() || !policy.excluded_networks.is_empty();
    let by_server = side == Side::Passive && !policy.servers.are_all();
    let by_name = options.by_name_only();
    if ports.is_none() && !by_network && !by_server && !policy.opt_out && !by_name {
        return;
    }
    a.emitter("policy", Uses::scratch().reads(SOCK_OPS.reg()).writes([R7, R8]), |a| {
        a.block("admitted", |a, admitted| {
            a.block("excluded", |a, excluded| {
                if let Some(boundaries) = ports {
                    a.comment("the server's port");
                    port::require(
                        a,
                        &boundaries,
                        if side == Side::Active { End::Remote } else { End::Local },
                        excluded,
                    );
                }
                if by_network {
                    a.comment("either address");
                    network::require(a, &policy.networks, &policy.excluded_networks, excluded);
                }
                if by_server {
                    server::require(a, &policy.servers, excluded);
                }
                if policy.opt_out {
                    opt_out::require_unmarked(a, excluded);
                }
                if by_name {
                    trust::require_named(a, options, side, excluded);
                }
                a.goto(admitted);
            });
            count(a, Counter::Excluded, 1);
            match side {
                Side::Active => forget_last_connection(a, options, out),
                Side::Passive => a.goto(out),
            }
        });
    });
}

/// Takes a socket out of the sockhash that was in it with another connection, and goes to `out`: a socket that has been
/// disconnected by connect(AF_UNSPEC) keeps its storage, its place, and its peer of before.
#[track_caller]
pub(in crate::dataplane) fn forget_last_connection(a: &mut Asm, options: &Options, out: Label) {
    a.emitter("forget", Uses::scratch().reads(SOCK_OPS.reg()).writes([R7, R8]), |a| {
        known_storage(a, out);
        a.require(R1.at_most(socket::PAIRED), out, "it may be in the sockhash");
        map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(options.pairing)));
        a.st(OWN, Head::STATE, socket::PLAIN);
        callbacks::drop(a, options);
        a.goto(out);
    });
}
