//! Pairing by addresses: the passive end looks for a record under its remote address, which REDIRECT and DNAT leave
//! alone, while they rewrite its local one.
//!
//! Behind it, the key has the [proof](super::proof), since addresses are none: clusters of namespaces may repeat them, and
//! REDIRECT lets one client address talk to two services at once. Where the proof is only the namespace, the claim is
//! confirmed by the handshake's sequence numbers or, where these are rewritten, by exact mirror addresses.

use crate::asm::Reg::{R0, R1, R2, R3};
use crate::asm::{Asm, Base, Label, Place, Uses};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::options::Side;
use crate::dataplane::pairing::address::{self, End};
use crate::dataplane::pairing::record::RECORD;
use crate::dataplane::state::record::{ClientKey, Record};
use crate::dataplane::state::socket::{Address, FourTuple, Numbers, OWN, Socket};

/// The client's address, as `side` sees it: its own local one, or the remote one of its peer.
#[track_caller]
pub(in crate::dataplane) fn key(a: &mut Asm, side: Side, to: Place<ClientKey>) {
    match side {
        Side::Active => client_key(a, End::Local, to),
        Side::Passive => client_key(a, End::Remote, to),
    }
}

#[track_caller]
fn client_key(a: &mut Asm, end: End, to: Place<ClientKey>) {
    let word = |index| ClientKey::ADDRESS.then(Address::WORDS).item(index);
    a.emitter("client_key", Uses::scratch().reads(SOCK_OPS.regs() | to.regs()), |a| {
        address::store_address(a, end, to.at(ClientKey::ADDRESS));
        address::load_port(a, R1, end);
        a.st(to, ClientKey::PORT, R1);
        a.st(to, ClientKey::NETNS, 0);
        // An address every namespace has of its own carries its namespace: 127.0.0.0/8 (mapped), ::/96 (::1, Istio's
        // ::6) and fe80::/10.
        a.block("global", |a, global| {
            a.block("node_local", |a, local| {
                a.ld(R1, to, word(0));
                a.mov(R2, R1);
                a.to_be(R2, 32);
                a.and32(R2, 0xffc0_0000_u32 as i32);
                a.jump_if(R2.w().equals(0xfe80_0000_u32 as i32), local);
                a.ld(R2, to, word(1));
                a.or(R1, R2);
                a.jump_if(R1.differs(0), global);
                a.ld(R1, to, word(2));
                a.jump_if(R1.equals(0), local);
                a.to_be(R1, 32);
                a.jump_if(R1.differs(0xffff), global);
                a.ld(R1, to, ClientKey::ADDRESS.then(Address::IP4_FIRST));
                a.jump_if(R1.differs(127), global);
            });
            address::netns_cookie(a);
            a.st(to, ClientKey::NETNS, R0);
        });
    });
}

/// Passive end: goes on when the record in R9 is that of our own peer, else to `no`; our own key is in our storage.
#[track_caller]
pub(in crate::dataplane) fn confirm(a: &mut Asm, no: Label) {
    let uses = Uses::nothing().reads([SOCK_OPS.reg(), OWN.reg(), RECORD.reg()]).writes([R1, R2, R3]);
    a.emitter("confirm", uses, |a| {
        a.block("confirmed", |a, confirmed| {
            a.block("by_address", |a, by_address| {
                a.comment("the handshake's numbers, mirrored");
                a.ld(R1, RECORD, Record::NUMBERS.then(Numbers::SND_NXT));
                a.ld(R2, SOCK_OPS, SockOps::RCV_NXT);
                a.require(R1.equals(R2), by_address, "their first number is ours");
                a.ld(R1, RECORD, Record::NUMBERS.then(Numbers::RCV_NXT));
                a.ld(R2, SOCK_OPS, SockOps::SND_NXT);
                a.permit(R1.equals(R2), confirmed, "both numbers are ours");
            });
            a.comment("or the same namespace, and the addresses mirrored");
            let (theirs, ours) = (Record::KEY, Socket::OWN_KEY);
            let half =
                |address: crate::asm::Field<FourTuple, Address>, index| address.then(Address::HALVES).item(index);
            let mirror = [
                ("namespace", FourTuple::NETNS, FourTuple::NETNS),
                ("their address, first half", half(FourTuple::LOCAL, 0), half(FourTuple::REMOTE, 0)),
                ("their address, second half", half(FourTuple::LOCAL, 1), half(FourTuple::REMOTE, 1)),
                ("our address, first half", half(FourTuple::REMOTE, 0), half(FourTuple::LOCAL, 0)),
                ("our address, second half", half(FourTuple::REMOTE, 1), half(FourTuple::LOCAL, 1)),
            ];
            for (name, their, our) in mirror {
                a.ld(R1, RECORD, theirs.then(their));
                a.ld(R2, OWN, ours.then(our));
                a.require(R1.equals(R2), no, name);
            }
            let ports = [
                ("their port", FourTuple::LOCAL_PORT, FourTuple::REMOTE_PORT),
                ("our port", FourTuple::REMOTE_PORT, FourTuple::LOCAL_PORT),
            ];
            for (name, their, our) in ports {
                a.ld(R1, RECORD, theirs.then(their));
                a.ld(R3, OWN, ours.then(our));
                a.require(R1.equals(R3), no, name);
            }
        });
    });
}
