//! The server's end of a connection against those that the policy names: by its port, or by an address.

use super::{network, port};
use crate::asm::Reg::R1;
use crate::asm::{Asm, Label, Uses};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::options::Servers;
use crate::dataplane::pairing::address::End;

/// Goes on when the socket of the context, which has been accepted, is one of `servers`; else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require(a: &mut Asm, servers: &Servers, no: Label) {
    // Without a list, or with all ports, there is nothing to compare.
    let boundaries = (!servers.ports.is_empty()).then(|| port::boundaries(&servers.ports, &[]));
    if boundaries == Some(None) {
        return;
    }
    a.emitter("server", Uses::nothing().reads(SOCK_OPS.reg()).writes(R1), |a| {
        a.block("server_named", |a, named| {
            a.comment("the server's end is named by its port or by an address");
            let Some(Some(boundaries)) = boundaries else {
                network::require(a, &servers.networks, &[], no);
                return;
            };
            if servers.networks.is_empty() {
                port::require(a, &boundaries, End::Local, no);
                return;
            }
            a.block("port_not_named", |a, other| {
                port::require(a, &boundaries, End::Local, other);
                a.goto(named);
            });
            network::require(a, &servers.networks, &[], no);
        });
    });
}
