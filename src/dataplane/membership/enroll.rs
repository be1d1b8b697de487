//! How a socket enters the sockhash: with a state of its own, and under a key of its own.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R7, R8};
use crate::asm::{Asm, Base, Label, Ptr, Uses};
use crate::dataplane::emit::{clear, map_delete, set_flags, storage_get};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{Options, Side, Tier};
use crate::dataplane::policy::trust;
use crate::dataplane::state::MapRole;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::helper::id as helper;

/// The socket of the context, as the verifier knows it.
pub(in crate::dataplane) const SK: Ptr<TcpSock> = Ptr::new(R8);

/// R7 = a fresh storage of the socket in R8, with our own particulars. A socket that connects again, after
/// connect(AF_UNSPEC), keeps its storage, so every field is written; it also keeps its place in the sockhash and the
/// bytes of its last connection, which go here.
pub(in crate::dataplane) fn own_storage(a: &mut Asm, options: &Options, side: Side, none: Label) {
    a.emitter("own_storage", Uses::scratch().reads([SOCK_OPS.reg(), SK.reg()]).gives(R7), |a| {
        storage_get(a, SK.reg(), true);
        a.require(R0.differs(0), none, "there is memory for it");
        a.mov(R7, R0);
        a.ld(R1, OWN, Head::STATE);
        a.guard(R1.differs(0), "a socket that connects again leaves first", |a| {
            map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(options.pairing)));
        });
        trust::keep_mark(a, options);
        if options.wakes_readers().is_some() {
            a.comment("its buffer stays as we have fixed it");
            a.ld(R4, OWN, Socket::BUFFER);
        }
        clear(a, Socket::WORDS.items().take(socket::size(options) as usize / 8), OWN);
        if options.wakes_readers().is_some() {
            a.st(OWN, Socket::BUFFER, R4);
        }
        trust::begin(a, options, side);
        if let Tier::Gated(_) = options.tier {
            a.st(OWN, Socket::OWN_SK, SK.reg());
            a.st(OWN, Socket::OWN_STORAGE, OWN.reg());
        }
        if options.policy.direction.keeps(side) {
            set_flags(a, socket::BY_STACK);
        }
        a.mov(R1, SOCK_OPS.reg());
        a.call(helper::GET_SOCKET_COOKIE);
        a.st(OWN, Head::COOKIE, R0);
        options.pairing.own_key(a);
    });
}

/// Puts the socket into the sockhash, unless it is to join it later: then only when its reader is trusted by name.
pub(in crate::dataplane) fn at_once(a: &mut Asm, options: &Options, refused: Label) {
    let trust = &options.policy.trust;
    if !options.joins_later() {
        return enroll(a, options, refused);
    }
    a.emitter("at_once", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        a.block("joined", |a, joined| {
            if !trust.ports.is_empty() || trust.cgroups {
                a.block("joins_later", |a, later| {
                    a.ld(R1, OWN, Head::READER);
                    a.require(R1.w().equals(socket::ANY), later, "its reader is trusted by name");
                    a.st(OWN, Socket::JOINS, 1);
                    enroll(a, options, refused);
                    a.goto(joined);
                });
            }
            set_flags(a, socket::LATE);
        });
    });
}

/// Puts the socket into the sockhash under its own key.
fn enroll(a: &mut Asm, options: &Options, refused: Label) {
    a.emitter("enroll", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        a.mov(R1, SOCK_OPS.reg());
        a.load_map(R2, MapRole::Sockets.map_ref());
        a.addr(R3, OWN.at(socket::own_key(options.pairing)));
        a.mov(R4, 0);
        a.call(helper::SOCK_HASH_UPDATE);
        a.require(R0.equals(0), refused, "the sockhash takes it");
    });
}
