//! Listeners whose connections are short.
//!
//! A connection must have received some times before anything is redirected to it, so one with a few requests pays for its
//! pair and gains nothing. A listener whose last connections all ended so does not announce itself any more, while an agent
//! adopts those that live longer: then both ends find no record and do nothing else. One of [`TRIED`] connections, chosen at
//! random, is paired all the same. The first one that receives often enough sets the listener back.
//!
//! Other processors may write the same listener's word at the same time. Connections that end are added atomically, so
//! that none can undo a setting back.

use crate::asm::Reg::{R0, R1, R2, R3, R4};
use crate::asm::{Asm, Label, Ptr, Slot, Uses};
use crate::dataplane::emit::{count, map_lookup};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::options::{CONNECTION_RECEIVES, Options};
use crate::dataplane::pairing::address::{self, End};
use crate::dataplane::state::listener::{Adopts, Listener, SHORT_IN_A_ROW, TRIED};
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::traffic::Traffic;
use crate::dataplane::state::{Counter, MapRole};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

const LISTENER: Ptr<Listener> = Ptr::new(R0);

/// A listener answers a SYN: goes to `announces` when it is to announce itself, else to `out`.
#[track_caller]
pub(in crate::dataplane) fn require_worth(a: &mut Asm, [announces, out]: [Label; 2]) {
    a.emitter("short", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        let key = a.slot::<u64>("listener");
        own_key(a);
        a.set(key, R0);
        map_lookup(a, MapRole::Listeners, key);
        a.require(R0.differs(0), announces, "there is a listener");
        a.ld(R1, LISTENER, Listener::SHORT);
        a.require(R1.at_least(SHORT_IN_A_ROW), announces, "its last connections were short");
        a.call(helper::KTIME_GET_NS);
        a.load_map_value(R1, MapRole::Adopts.map_ref(), 0);
        a.ld(R1, Ptr::<Adopts>::new(R1), Adopts::UNTIL);
        a.require(R1.above(R0), announces, "an agent adopts those that live longer");
        a.call(helper::GET_PRANDOM_U32);
        a.and(R0, TRIED - 1);
        a.permit(R0.equals(0), announces, "a few are tried");
        count(a, Counter::LeftAlone, 1);
        a.goto(out);
    });
}

/// A passive end that has been paired remembers its listener. One whose reader is trusted by name gains from its first message
/// on, so it sets its listener back.
#[track_caller]
pub(in crate::dataplane) fn remember(a: &mut Asm, options: &Options) {
    if !options.spares_short() {
        return;
    }
    let trust = &options.policy.trust;
    a.emitter("short", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        let key = a.slot::<u64>("listener");
        own_key(a);
        a.set(key, R0);
        a.block("remembered", |a, remembered| {
            if !trust.ports.is_empty() || trust.cgroups {
                a.ld(R1, OWN, Head::READER);
                a.guard(R1.w().equals(socket::ANY), "its reader is trusted by name", |a| {
                    set_back(a, key);
                    a.goto(remembered);
                });
            }
            a.get(R1, key);
            a.st(OWN, Socket::LISTENER, R1);
        });
    });
}

/// A socket closes: its listener learns of it, if it has one.
#[track_caller]
pub(in crate::dataplane) fn closes(a: &mut Asm, options: &Options) {
    if !options.spares_short() {
        return;
    }
    a.emitter("short", Uses::scratch().reads(OWN.reg()), |a| {
        a.block("says_nothing", |a, nothing| {
            let key = a.slot::<u64>("listener");
            a.ld(R1, OWN, Socket::LISTENER);
            a.require(R1.differs(0), nothing, "it has a listener");
            a.set(key, R1);
            a.comment("once");
            a.st(OWN, Socket::LISTENER, 0);
            a.block("gained", |a, gained| {
                // One that joins later has received often enough by then.
                if !options.joins_later() {
                    a.ld(R1, OWN, Socket::TRAFFIC.then(Traffic::REDIRECTED_MESSAGES));
                    a.require(R1.equals(0), gained, "it has redirected nothing");
                }
                a.comment("receives are counted only while it is one of a pair, and a program sees them");
                a.ld(R1, OWN, Head::STATE);
                a.require(R1.equals(socket::PAIRED), nothing, "its pair has not left");
                a.ld(R1, OWN, Socket::RECEIVES);
                a.require(R1.differs(0), nothing, "its receives are seen");
                a.require(R1.below(CONNECTION_RECEIVES), gained, "it has received too seldom to gain");
                add_short(a, key);
                a.goto(nothing);
            });
            set_back(a, key);
        });
    });
}

/// A socket has received often enough to gain: if it has a listener, that one's connections are not short any more.
#[track_caller]
pub(in crate::dataplane) fn lives(a: &mut Asm) {
    a.emitter("short", Uses::scratch().reads(OWN.reg()), |a| {
        let key = a.slot::<u64>("listener");
        a.ld(R1, OWN, Socket::LISTENER);
        a.set(key, R1);
        a.st(OWN, Socket::LISTENER, 0);
        set_back(a, key);
    });
}

fn set_back(a: &mut Asm, key: Slot<u64>) {
    map_lookup(a, MapRole::Listeners, key);
    a.guard(R0.differs(0), "there is a listener", |a| a.st(LISTENER, Listener::SHORT, 0));
}

/// One more short connection.
fn add_short(a: &mut Asm, key: Slot<u64>) {
    map_lookup(a, MapRole::Listeners, key);
    a.if_else(
        R0.differs(0),
        |a| {
            a.mov(R1, 1);
            a.atomic_add(LISTENER, Listener::SHORT, R1);
        },
        |a| enter(a, key),
    );
}

/// The first short connection of a listener.
fn enter(a: &mut Asm, key: Slot<u64>) {
    a.idiom("enter", Uses::scratch(), |a| {
        let first = a.slot::<Listener>("first");
        a.st(first, Listener::SHORT, 1);
        a.addr(R2, key);
        a.addr(R3, first);
        a.load_map(R1, MapRole::Listeners.map_ref());
        a.mov(R4, flags::NOEXIST);
        a.call(helper::MAP_UPDATE_ELEM);
    });
}

/// R0 = the key of the listener: the cookie of its network namespace, and its port in the lowest 16 bits.
fn own_key(a: &mut Asm) {
    a.idiom("listener_key", Uses::scratch().reads(SOCK_OPS.reg()).gives(R0), |a| {
        address::netns_cookie(a);
        a.lsh(R0, 16);
        address::load_port(a, R1, End::Local);
        a.or(R0, R1);
    });
}
