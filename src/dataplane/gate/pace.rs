//! Whether a stream goes faster with redirection than without: it is measured, and a pair that loses by staying leaves.
//!
//! From the first message that finds no room on, what a socket sends is cut into phases of as many messages or bytes as the
//! configuration says. In phases with an odd number the stack carries all messages; in the others the gate decides for
//! each. Each phase costs one look at the clock, at its end. The better of two phases of either kind counts, so that a pause of the
//! sender in one of them does not. A stream that stays is measured again after [`SETTLED_PHASES`] times as much.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R9};
use crate::asm::{Asm, Field};
use crate::dataplane::emit::{config, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::roles::uses;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SK_MSG, SkMsg};
use crate::dataplane::options::{Options, Streams};
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, OWN, Pace, Socket};
use crate::uapi::helper::id as helper;

/// The first phase; 0 stands for none.
const FIRST: i32 = 1;
/// The last phase of a measurement.
const LAST: i32 = 4;
/// The phase of a stream that stays.
const SETTLED: i32 = 6;
/// The binary logarithm of how many phases long it is: 128, so that two phases on the stack in 132 cost little.
const SETTLED_PHASES: i32 = 7;
/// The binary logarithm of the bytes of a phase for each of its messages: 512. Large messages fill buffers sooner.
const BYTES_SHIFT: i32 = 9;
/// Staying must be this part faster, as a binary logarithm (an eighth): the stack's phases take longer than plain TCP does,
/// by the way into the sk_msg program and back.
const MARGIN_SHIFT: i32 = 3;
/// The binary logarithm of the bytes for which a time is kept: 1 KiB.
const KIB_SHIFT: i32 = 10;

/// Begins to measure, unless this has been done. Loses R0 to R5.
pub(in crate::dataplane) fn begin(a: &mut Asm, options: &Options) {
    if options.streams() != Streams::Auto {
        return;
    }
    a.emitter("begin", uses(), |a| {
        a.block("measured", |a, measured| {
            a.ld(R1, OWN, Socket::PACE.then(Pace::PHASE));
            a.jump_if(R1.differs(0), measured);
            a.st(OWN, Socket::PACE.then(Pace::PHASE), FIRST);
            forget_times(a);
            a.call(helper::KTIME_GET_NS);
            a.st(OWN, Socket::PACE.then(Pace::SINCE), R0);
        });
    });
}

/// Goes on, with a reason to take the stack in a phase that is the stack's.
pub(in crate::dataplane) fn require(a: &mut Asm, options: &Options, offsets: &KernelOffsets, deferral: Deferral) {
    if options.streams() != Streams::Auto {
        return;
    }
    let [phase, messages] = [Pace::PHASE, Pace::MESSAGES].map(|field| Socket::PACE.then(field));
    let bytes = Socket::PACE.then(Pace::BYTES);
    a.emitter("pace", uses(), |a| {
        a.block("unmeasured", |a, unmeasured| {
            a.ld(R1, OWN, phase);
            a.jump_if(R1.equals(0), unmeasured);
            a.block("phase_goes_on", |a, goes_on| {
                a.ld(R2, OWN, messages);
                a.add(R2, 1);
                a.st(OWN, messages, R2);
                a.ld(R3, OWN, bytes);
                a.ld(R4, SK_MSG, SkMsg::LENGTH);
                a.add(R3, R4);
                a.st(OWN, bytes, R3);
                config(a, R4, Value::PACE_MESSAGES);
                a.if_(R1.equals(SETTLED), |a| a.lsh(R4, SETTLED_PHASES));
                a.block("phase_ends", |a, ends| {
                    a.jump_if(R4.at_most(R2), ends);
                    a.lsh(R4, BYTES_SHIFT);
                    a.jump_if(R3.below(R4), goes_on);
                });
                ends(a);
            });
            a.comment("whose phase is it?");
            a.ld(R1, OWN, phase);
            a.and(R1, 1);
            a.jump_if(R1.equals(0), unmeasured);
            deferral.note(a, offsets, Counter::PassStream);
        });
    });
}

/// The next phase begins. A pair that loses by staying is to leave.
fn ends(a: &mut Asm) {
    let phase = Socket::PACE.then(Pace::PHASE);
    let [stack, mixed] = [Pace::STACK, Pace::MIXED].map(|field| Socket::PACE.then(field));
    a.emitter("ends", uses(), |a| {
        a.call(helper::KTIME_GET_NS);
        a.mov(R9, R0);
        a.ld(R1, OWN, Socket::PACE.then(Pace::SINCE));
        a.st(OWN, Socket::PACE.then(Pace::SINCE), R0);
        a.sub(R9, R1);
        a.comment("nanoseconds for each KiB");
        a.lsh(R9, KIB_SHIFT);
        a.ld(R1, OWN, Socket::PACE.then(Pace::BYTES));
        a.div(R9, R1);
        a.st(OWN, Socket::PACE.then(Pace::MESSAGES), 0);
        a.st(OWN, Socket::PACE.then(Pace::BYTES), 0);
        a.ld(R1, OWN, phase);
        let least = |a: &mut Asm, place: Field<Socket, u64>| {
            a.ld(R2, OWN, place);
            a.if_(R9.below(R2), |a| a.st(OWN, place, R9));
        };
        a.if_else(R1.none_of(1), |a| least(a, mixed), |a| least(a, stack));
        a.add(R1, 1);
        a.st(OWN, phase, R1);
        a.block("compared", |a, compared| {
            a.block("measures_again", |a, again| {
                a.jump_if(R1.above(SETTLED), again);
                a.jump_if(R1.at_most(LAST), compared);
                a.st(OWN, phase, SETTLED);
                a.ld(R1, OWN, mixed);
                a.mov(R2, R1);
                a.rsh(R2, MARGIN_SHIFT);
                a.add(R1, R2);
                a.ld(R2, OWN, stack);
                a.jump_if(R1.at_most(R2), compared);
                set_flags(a, socket::UNENROLLING);
                a.comment("from here on its messages are the stack's in any case");
                a.st(OWN, phase, FIRST);
                a.goto(compared);
            });
            a.st(OWN, phase, FIRST);
            forget_times(a);
        });
    });
}

/// No phase has been measured.
fn forget_times(a: &mut Asm) {
    a.st(OWN, Socket::PACE.then(Pace::STACK), -1);
    a.st(OWN, Socket::PACE.then(Pace::MIXED), -1);
}
