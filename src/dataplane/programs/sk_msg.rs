//! The sk_msg program: redirects a message when the gate is open.
//!
//! It always returns SK_PASS: SK_DROP, which `bpf_msg_redirect_hash` returns for an absent peer, would make every
//! later send of the socket fail with EACCES (`tcp_bpf_send_verdict`).

use crate::asm::Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, Program, Size};
use crate::dataplane::emit::{count_message, count_passed, require_enabled, set_flags, storage_get};
use crate::dataplane::gate::deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::membership::unenroll;
use crate::dataplane::options::{Direction, Options, Readers, Tier};
use crate::dataplane::state::{Counter, MapRole, socket};
use crate::dataplane::{gate, pairing};
use crate::uapi::ctx::sk_msg;
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

pub(in crate::dataplane) fn build(options: &Options) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let mut exits = Exits::new(a);
    let [paired, out, switched_off] = ["paired", "out", "switched_off"].map(|name| a.label(name));
    let defers = options.defers();
    a.mov(R6, R1);
    let off = exits.to(a, Counter::PassOff);
    let unpaired = exits.to(a, Counter::PassUnpaired);
    a.load(Size::DW, R2, R6, sk_msg::SK);
    a.jump(Cond::Eq, R2, 0, out);
    storage_get(a, R2, false);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    if let Tier::Gated(_) = options.tier {
        deferral::begin(a);
    }
    require_enabled(a, if defers { switched_off } else { off });
    a.load(Size::W, R1, R7, socket::STATE);
    a.jump(Cond::Eq, R1, socket::PAIRED, paired);
    a.jump(Cond::Ne, R1, socket::WAITING, unpaired);
    pairing::adopt(a, options.pairing, unpaired, unpaired);
    a.bind(paired);
    if options.policy.direction != Direction::Both {
        let by_stack = exits.to(a, Counter::PassDirection);
        a.load(Size::W, R1, R7, socket::FLAGS);
        a.jump(Cond::Set, R1, socket::BY_STACK, by_stack);
    }
    match &options.tier {
        Tier::Gated(offsets) => gate::gated(a, options, offsets, &mut exits),
        Tier::Sticky => gate::sticky(a, &mut exits),
    }

    a.comment("into the peer's queue");
    if let Tier::Gated(_) = options.tier {
        a.load(Size::W, R1, R7, socket::FLAGS);
        a.and(R1, !socket::NONE_IN_FLIGHT);
        a.store(Size::W, R7, socket::FLAGS, R1);
    }
    let absent = exits.to(a, Counter::PassAbsent);
    a.mov(R1, R6);
    a.load_map(R2, MapRole::Sockets.map_ref());
    a.mov(R3, R7);
    a.add(R3, i32::from(socket::peer_key(options.pairing)));
    a.mov(R4, flags::F_INGRESS);
    a.call(helper::MSG_REDIRECT_HASH);
    a.jump(Cond::Ne, R0, flags::SK_PASS, absent);
    a.load(Size::W, R8, R6, sk_msg::LENGTH);
    a.load(Size::W, R1, R7, socket::BURST_MESSAGES);
    a.add(R1, 1);
    a.store(Size::W, R7, socket::BURST_MESSAGES, R1);
    a.load(Size::DW, R1, R7, socket::BURST_BYTES);
    a.add(R1, R8);
    a.store(Size::DW, R7, socket::BURST_BYTES, R1);
    count_message(a, Counter::RedirectedMessages, Counter::RedirectedBytes, R8);
    a.bind(out);
    a.mov(R0, flags::SK_PASS);
    a.exit();

    let [passed, counted] = ["passed", "passed_by_policy"].map(|name| a.label(name));
    let noted = exits.deferred;
    for (label, counter) in exits.into_list() {
        a.bind(label);
        a.mov(R9, i32::from(counter.offset()));
        // What always takes the stack that way is in nobody's way.
        a.goto(if counter == Counter::PassDirection { counted } else { passed });
    }
    if defers {
        a.bind(switched_off);
        a.load(Size::W, R1, R7, socket::STATE);
        a.jump(Cond::Ne, R1, socket::PAIRED, off);
        deferral::note(a, Counter::PassOff);
        a.goto(paired);
    }
    if let Tier::Gated(_) = options.tier {
        a.bind(noted);
        deferral::counter(a);
    }
    a.bind(passed);
    match (&options.tier, options.readers) {
        (Tier::Sticky, _) => set_flags(a, socket::PASSED),
        (Tier::Gated(_), Readers::Any) => {
            a.comment("a reader may now sleep in the call that reads this from the stack");
            set_flags(a, socket::UNENROLLING);
        }
        (Tier::Gated(_), Readers::NonBlocking) => {}
    }
    if let Tier::Gated(offsets) = &options.tier {
        unenroll::note_none_in_flight(a, offsets);
    }
    a.bind(counted);
    a.load(Size::W, R8, R6, sk_msg::LENGTH);
    count_passed(a, R9, R8);
    a.goto(out);
    asm.finish()
}
