//! How a socket enters the sockhash: with a state of its own, and under a key of its own.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R6, R7, R8};
use crate::asm::{Asm, Cond, Label, Size};
use crate::dataplane::emit::{map_delete, storage_get};
use crate::dataplane::options::{Options, Side, Tier};
use crate::dataplane::state::{MapRole, socket};
use crate::uapi::helper::id as helper;

/// R7 = a fresh storage of the socket in R8, with our own particulars. A socket that connects again, after
/// connect(AF_UNSPEC), keeps its storage, so every field is written; it also keeps its place in the sockhash and the
/// bytes of its last connection, which go here.
pub(in crate::dataplane) fn own_storage(a: &mut Asm, options: &Options, side: Side, none: Label) {
    let fresh = a.label("first_connection");
    storage_get(a, R8, true);
    a.jump(Cond::Eq, R0, 0, none);
    a.mov(R7, R0);
    a.load(Size::W, R1, R7, socket::STATE);
    a.jump(Cond::Eq, R1, 0, fresh);
    map_delete(a, MapRole::Sockets, R7, socket::own_key(options.pairing));
    a.bind(fresh);
    for offset in (0..socket::size(options.pairing) as i16).step_by(8) {
        a.store(Size::DW, R7, offset, 0);
    }
    if let Tier::Gated(_) = options.tier {
        a.store(Size::DW, R7, socket::OWN_SK, R8);
        a.store(Size::DW, R7, socket::OWN_STORAGE, R7);
    }
    if options.policy.direction.keeps(side) {
        a.store(Size::W, R7, socket::FLAGS, socket::BY_STACK);
    }
    a.mov(R1, R6);
    a.call(helper::GET_SOCKET_COOKIE);
    a.store(Size::DW, R7, socket::OWN_COOKIE, R0);
    options.pairing.own_key(a);
}

/// Puts the socket into the sockhash under its own key.
pub(in crate::dataplane) fn enroll(a: &mut Asm, options: &Options, refused: Label) {
    a.mov(R1, R6);
    a.load_map(R2, MapRole::Sockets.map_ref());
    a.mov(R3, R7);
    let key = socket::own_key(options.pairing);
    if key != 0 {
        a.add(R3, i32::from(key));
    }
    a.mov(R4, 0);
    a.call(helper::SOCK_HASH_UPDATE);
    a.jump(Cond::Ne, R0, 0, refused);
}
