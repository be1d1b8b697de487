//! The sk_msg program: redirects a message when the gate is open.
//!
//! It always returns SK_PASS: SK_DROP, which `bpf_msg_redirect_hash` returns for an absent peer, would make every
//! later send of the socket fail with EACCES (`tcp_bpf_send_verdict`).

use crate::asm::Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use crate::asm::{self, Asm, Base, Field, Label, Operand, Program, Uses};
use crate::dataplane::emit::{count_message, count_passed, require_enabled, set_flags, storage_get};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::fionread;
use crate::dataplane::gate::underway::Underway;
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::options::{Direction, Options, Readers, Tier};
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::traffic::Traffic;
use crate::dataplane::state::{Counter, MapRole};
use crate::dataplane::{gate, pairing};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

pub(in crate::dataplane) fn build(options: &Options) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    program(&mut asm, options);
    asm.finish()
}

fn program(a: &mut Asm, options: &Options) {
    let mut exits = Exits::default();
    let deferral = matches!(options.tier, Tier::Gated(_)).then(|| Deferral::new(a));
    let [paired, out, switched_off, redirects] =
        ["paired", "out", "switched_off", "redirects"].map(|name| a.label(name));
    let defers = options.defers();
    let underway = matches!(options.tier, Tier::Gated(_)).then(|| Underway::new(a));
    a.mov(R6, R1);
    let off = exits.to(a, Counter::PassOff);
    let unpaired = exits.to(a, Counter::PassUnpaired);
    a.ld(R2, SK_MSG, SkMsg::SK);
    a.require(R2.differs(0), out, "the message has a socket");
    storage_get(a, R2, false);
    a.require(R0.differs(0), out, "it has a storage");
    a.mov(R7, R0);
    if let Some(deferral) = deferral {
        deferral.begin(a);
    }
    require_enabled(a, if defers { switched_off } else { off });
    a.ld(R1, OWN, Head::STATE);
    a.permit(R1.equals(socket::PAIRED), paired, "it is paired");
    a.require(R1.equals(socket::WAITING), unpaired, "it waits for its peer");
    pairing::adopt(a, options, unpaired, unpaired);
    a.bind(paired);
    if options.policy.direction != Direction::Both {
        let by_stack = exits.to(a, Counter::PassDirection);
        a.ld(R1, OWN, Head::FLAGS);
        a.require(R1.none_of(socket::BY_STACK), by_stack, "the policy redirects this direction");
    }
    match (&options.tier, deferral) {
        (Tier::Gated(offsets), Some(deferral)) => gate::gated(a, options, offsets, deferral, &mut exits),
        _ => gate::sticky(a, &mut exits),
    }
    a.bind(redirects);
    redirect(a, options, &mut exits);
    a.bind(out);
    a.mov(R0, flags::SK_PASS);
    a.exit();

    let [passed, settles, counted] = ["passed", "settles", "passed_by_policy"].map(|name| a.label(name));
    for (label, counter) in exits.into_list() {
        a.bind(label);
        a.mov(R9, counter.field().offset());
        a.goto(match (counter, underway) {
            // What always takes the stack that way needs no further notes.
            (Counter::PassDirection, _) => counted,
            // All has been looked at before: the queue alone speaks for the stack.
            (Counter::PassBackpressure, Some(_)) => settles,
            _ => passed,
        });
    }
    if let (true, Some(deferral)) = (defers, deferral) {
        a.bind(switched_off);
        a.ld(R1, OWN, Head::STATE);
        a.require(R1.equals(socket::PAIRED), off, "a paired one may still redirect");
        deferral.note_early(a, Counter::PassOff);
        a.goto(paired);
    }
    if let Some(deferral) = deferral {
        a.bind(deferral.exit);
        if options.joins_later()
            && let Tier::Gated(offsets) = &options.tier
            && let Some(epoll) = &offsets.epoll
        {
            fionread::release_asker(a, offsets, epoll);
        }
        deferral.counter(a);
    }
    a.bind(settles);
    if let (Some(underway), Tier::Gated(offsets)) = (underway, &options.tier) {
        a.block("settled", |a, settled| {
            underway.settle(a, options, offsets, [passed, redirects], settled);
        });
    } else {
        a.bind(passed);
    }
    passed_to_stack(a, options, counted);
    a.goto(out);
}

/// Into the peer's queue, and counted.
fn redirect(a: &mut Asm, options: &Options, exits: &mut Exits) {
    let absent = exits.to(a, Counter::PassAbsent);
    a.emitter("redirect", Uses::scratch().reads([SK_MSG.reg(), OWN.reg()]).writes(R8), |a| {
        a.comment("into the peer's queue");
        if let Tier::Gated(_) = options.tier {
            set_flags(a, socket::UNDERWAY);
        }
        a.mov(R1, SK_MSG.reg());
        a.load_map(R2, MapRole::Sockets.map_ref());
        a.addr(R3, OWN.at(socket::peer_key(options.pairing)));
        a.mov(R4, flags::F_INGRESS);
        a.call(helper::MSG_REDIRECT_HASH);
        a.require(R0.equals(flags::SK_PASS), absent, "the peer is in the sockhash");
        a.ld(R8, SK_MSG, SkMsg::LENGTH);
        a.ld(R1, OWN, Socket::BURST_MESSAGES);
        a.add(R1, 1);
        a.st(OWN, Socket::BURST_MESSAGES, R1);
        a.ld(R1, OWN, Socket::BURST_BYTES);
        a.add(R1, R8);
        a.st(OWN, Socket::BURST_BYTES, R1);
        sent(a, [Traffic::REDIRECTED_BYTES, Traffic::REDIRECTED_MESSAGES]);
        count_message(a, Counter::RedirectedMessages, Counter::RedirectedBytes, R8);
    });
}

/// Adds a message of R8 bytes to what this socket has sent. Loses R1.
fn sent(a: &mut Asm, [bytes, messages]: [Field<Traffic, u64>; 2]) {
    a.idiom("sent", Uses::nothing().reads([OWN.reg(), R8]).writes(R1), |a| {
        for (field, amount) in [(bytes, Operand::from(R8)), (messages, 1.into())] {
            a.ld(R1, OWN, Socket::TRAFFIC.then(field));
            a.add(R1, amount);
            a.st(OWN, Socket::TRAFFIC.then(field), R1);
        }
    });
}

/// The message takes the stack, for the reason whose counter's place is in R9. What may follow from that is noted before
/// `counted`.
fn passed_to_stack(a: &mut Asm, options: &Options, counted: Label) {
    a.emitter("pass", Uses::scratch().reads([SK_MSG.reg(), OWN.reg(), R9]).writes(R8), |a| {
        match (&options.tier, options.readers) {
            (Tier::Sticky, _) => set_flags(a, socket::PASSED),
            (Tier::Gated(_), Readers::Any) => {
                a.comment("a reader may now sleep in the call that reads this from the stack");
                set_flags(a, socket::UNENROLLING);
            }
            (Tier::Gated(_), Readers::NonBlocking) => {}
        }
        if let Tier::Gated(_) = &options.tier {
            note_why_it_leaves(a);
        }
        a.bind(counted);
        a.ld(R8, SK_MSG, SkMsg::LENGTH);
        sent(a, [Traffic::PASSED_BYTES, Traffic::PASSED_MESSAGES]);
        a.comment("that its pair leaves hides why");
        a.if_(R9.differs(Counter::PassUnenrolling.field().offset()), |a| {
            a.st(OWN, Socket::TRAFFIC.then(Traffic::REASON), R9);
        });
        count_passed(a, R9, R8);
    });
}

/// The first message of a pair that is leaving which takes the stack says why it leaves: the reason whose counter's place is in R9.
fn note_why_it_leaves(a: &mut Asm) {
    a.emitter("leaving", Uses::nothing().reads([OWN.reg(), R9]).writes(R1), |a| {
        a.block("noted", |a, noted| {
            let leaving = Socket::TRAFFIC.then(Traffic::LEAVING);
            a.ld(R1, OWN, Head::FLAGS);
            a.and(R1, socket::UNENROLLING);
            a.require(R1.differs(0), noted, "the pair is to leave");
            a.ld(R1, OWN, leaving);
            a.if_(R1.equals(0), |a| a.st(OWN, leaving, R9));
        });
    });
}
