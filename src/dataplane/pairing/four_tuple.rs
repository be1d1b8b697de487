//! Pairing by addresses: the passive end looks for a record under its remote address, which REDIRECT and DNAT leave
//! alone, while they rewrite its local one.
//!
//! ```text
//! 0  namespace cookie u64, 0 for an address other namespaces can reach   8  address 16 bytes   24  port u64
//! ```
//!
//! Addresses are not proof: clusters of namespaces may repeat them, and REDIRECT lets one client address talk to two
//! services at once. So the claim is confirmed by the handshake's sequence numbers or, where these are rewritten
//! (SYNPROXY), by exact mirror addresses within one namespace.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R9};
use crate::asm::{Asm, Cond, Reg, Size};
use crate::dataplane::options::{Pairing, Side};
use crate::dataplane::pairing::address;
use crate::dataplane::pairing::address::End;
use crate::dataplane::state::{record, socket};
use crate::uapi::ctx::sock_ops;

const ADDRESS: i16 = 8;
const PORT: i16 = 24;

/// The client's address, as `side` sees it: its own local one, or the remote one of its peer.
#[track_caller]
pub(in crate::dataplane) fn key(a: &mut Asm, side: Side, base: Reg, offset: i16) {
    match side {
        Side::Active => client_key(a, End::Local, base, offset),
        Side::Passive => client_key(a, End::Remote, base, offset),
    }
}

#[track_caller]
fn client_key(a: &mut Asm, end: End, base: Reg, offset: i16) {
    let (local, global) = (a.label("node_local"), a.label("global"));
    address::store_address(a, end, base, offset + ADDRESS);
    address::load_port(a, R1, end);
    a.store(Size::DW, base, offset + PORT, R1);
    a.store(Size::DW, base, offset, 0);
    // An address every namespace has of its own carries its namespace: 127.0.0.0/8 (mapped), ::/96 (::1, Istio's
    // ::6) and fe80::/10.
    a.load(Size::W, R1, base, offset + ADDRESS);
    a.mov(R2, R1);
    a.to_be(R2, 32);
    a.and32(R2, 0xffc0_0000_u32 as i32);
    a.jump32(Cond::Eq, R2, 0xfe80_0000_u32 as i32, local);
    a.load(Size::W, R2, base, offset + ADDRESS + 4);
    a.or(R1, R2);
    a.jump(Cond::Ne, R1, 0, global);
    a.load(Size::W, R1, base, offset + ADDRESS + 8);
    a.jump(Cond::Eq, R1, 0, local);
    a.to_be(R1, 32);
    a.jump(Cond::Ne, R1, 0xffff, global);
    a.load(Size::B, R1, base, offset + ADDRESS + 12);
    a.jump(Cond::Ne, R1, 127, global);
    a.bind(local);
    address::netns_cookie(a);
    a.store(Size::DW, base, offset, R0);
    a.bind(global);
}

/// Passive end: R9 is the record, R7 our storage with our own key in it.
#[track_caller]
pub(in crate::dataplane) fn confirm(a: &mut Asm, no: crate::asm::Label) {
    let (by_address, confirmed) = (a.label("by_address"), a.label("confirmed"));
    let own = socket::own_key(Pairing::FourTuple);
    a.comment("the handshake's numbers, mirrored");
    a.load(Size::W, R1, R9, record::NUMBERS);
    a.load(Size::W, R2, R6, sock_ops::RCV_NXT);
    a.jump(Cond::Ne, R1, R2, by_address);
    a.load(Size::W, R1, R9, record::NUMBERS + 4);
    a.load(Size::W, R2, R6, sock_ops::SND_NXT);
    a.jump(Cond::Eq, R1, R2, confirmed);
    a.bind(by_address);
    a.comment("or the same namespace, and the addresses mirrored");
    let key = record::CLIENT_KEY;
    let mirror = [
        (0, 0),
        (address::LOCAL, address::REMOTE),
        (address::LOCAL + 8, address::REMOTE + 8),
        (address::REMOTE, address::LOCAL),
        (address::REMOTE + 8, address::LOCAL + 8),
    ];
    for (theirs, ours) in mirror {
        a.load(Size::DW, R1, R9, key + theirs);
        a.load(Size::DW, R2, R7, own + ours);
        a.jump(Cond::Ne, R1, R2, no);
    }
    for (theirs, ours) in [(0, 4), (4, 0)] {
        a.load(Size::W, R1, R9, key + address::PORTS + theirs);
        a.load(Size::W, R3, R7, own + address::PORTS + ours);
        a.jump(Cond::Ne, R1, R3, no);
    }
    a.bind(confirmed);
}
