//! Reports what happens to connections, while a process watches (`sidestep watch`).
//!
//! Connections are paired and leave seldom, so these are the places that report, and no message pays for it. Without a
//! watcher each of them reads one number. A watcher says until when it wants to know, and says so again each second: one
//! that has been killed costs a look at the clock for the rest of that time only.

use crate::asm::Reg::{R0, R1, R2, R3, R4};
use crate::asm::{Asm, Base, Label, Ptr, Uses};
use crate::dataplane::emit::{clear, copy_words, count};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::pairing::address::{End, load_port, store_address};
use crate::dataplane::state::change::{Raw, Wanted};
use crate::dataplane::state::socket::{Head, OWN, Socket};
use crate::dataplane::state::traffic::Traffic;
use crate::dataplane::state::{ChangeKind, Counter, MapRole};
use crate::uapi::helper::id as helper;

/// What is known of the socket of the context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::dataplane) enum Known {
    /// [`OWN`] is its state.
    State,
    /// Only what the context says.
    Context,
}

/// Reports a change of the socket of the context, if a process watches.
pub(in crate::dataplane) fn report(a: &mut Asm, kind: ChangeKind, known: Known) {
    let reads = if known == Known::State { SOCK_OPS.regs() | OWN.regs() } else { SOCK_OPS.regs() };
    a.emitter("report", Uses::scratch().reads(reads), |a| {
        a.block("unwatched", |a, unwatched| {
            let wanted = Ptr::<Wanted>::new(R1);
            a.load_map_value(R1, MapRole::Wanted.map_ref(), 0);
            a.ld(R1, wanted, Wanted::UNTIL);
            a.jump_if(R1.equals(0), unwatched);
            a.comment("until when?");
            let change = a.slot::<Raw>("change");
            a.call(helper::KTIME_GET_NS);
            a.load_map_value(R1, MapRole::Wanted.map_ref(), 0);
            a.ld(R1, wanted, Wanted::UNTIL);
            a.jump_if(R1.at_most(R0), unwatched);
            a.st(change, Raw::TIME, R0);
            a.st(change, Raw::KIND, kind as i32);
            let words = Traffic::WORDS.items().map(|word| Raw::TRAFFIC.then(word));
            if known == Known::State {
                a.ld(R1, OWN, Head::COOKIE);
                a.st(change, Raw::COOKIE, R1);
                a.ld(R1, OWN, Socket::PEER_COOKIE);
                a.st(change, Raw::PEER_COOKIE, R1);
                copy_words(a, Traffic::WORDS.items().map(|word| Socket::TRAFFIC.then(word)).zip(words), OWN, change);
            } else {
                a.st(change, Raw::COOKIE, 0);
                a.st(change, Raw::PEER_COOKIE, 0);
                clear(a, words, change);
            }
            for (end, address, port) in
                [(End::Local, Raw::LOCAL, Raw::LOCAL_PORT), (End::Remote, Raw::REMOTE, Raw::REMOTE_PORT)]
            {
                store_address(a, end, change.at(address));
                load_port(a, R1, end);
                a.st(change, port, R1);
            }
            output(a, change, unwatched);
        });
    });
}

/// Puts the change into the ring buffer, and goes to `done`; counts it where there is no room.
pub(in crate::dataplane) fn output(a: &mut Asm, change: impl Base<Object = Raw>, done: Label) {
    a.emitter("output", Uses::scratch().reads(change.regs()), |a| {
        a.load_map(R1, MapRole::Changes.map_ref());
        a.addr(R2, change);
        a.mov(R3, Raw::SIZE as i32);
        a.mov(R4, 0);
        a.call(helper::RINGBUF_OUTPUT);
        a.jump_if(R0.equals(0), done);
        count(a, Counter::ChangesLost, 1);
    });
}
