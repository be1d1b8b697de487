//! Whether a stream goes faster with redirection than without: it is measured, and a pair that loses by staying leaves.
//!
//! From the first message that finds no room on, phases take turns. In one the stack carries all messages, in the next the gate
//! decides for each. Their times for a KiB are compared. Each comparison gives or takes points: with enough of them the stream
//! stays, without any its pair leaves. A stream that stays is compared again later.
//!
//! A sender and a reader that wait for each other do so in cycles: the queue fills, and the reader empties it. A phase
//! that ends in the middle of one would leave its work to the next phase. So it ends at the message after one that has found the
//! reader's queue empty. Where this does not happen, the reader is always busy, and it does not matter when a phase ends.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R9};
use crate::asm::{Asm, Field, Label, Reg, Uses};
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

/// [`Pace::PHASE`]: the stack carries all messages. It alone is odd; 0 stands for none.
const STACK: i32 = 1;
/// [`Pace::PHASE`]: the gate decides.
const MIXED: i32 = 2;
/// [`Pace::PHASE`]: the same, of a stream that stays.
const SETTLED: i32 = 4;
/// The binary logarithm of how much longer that is: 128 times, so that one phase on the stack in as many costs little.
const SETTLED_SHIFT: i32 = 7;
/// The binary logarithm of how much longer than a phase a sender pauses that does so by itself.
const PAUSE_SHIFT: i32 = 3;
/// So many pauses in one phase are not a stream.
const PAUSES: i32 = 4;
/// What a message counts beside its bytes: about as many take the same time as one message more.
const MESSAGE_WORK: i32 = 4 << 10;
/// The binary logarithm of how much sooner the clock is looked at where the reader has read everything.
const SOONER_SHIFT: i32 = 3;
/// The stack must take this part more time than the gate, as a binary logarithm (a quarter): its phases take longer than plain TCP
/// does, by the way into the sk_msg program and back, and by a copy into pages of their own (docs/explanation/streams.md).
const MARGIN_SHIFT: i32 = 2;
/// With larger messages it must take half more: the larger a message, the more of its time is this copy.
const MEDIUM_BYTES: i32 = 32 << 10;
/// Streams of larger messages leave: where their pairs stayed, nothing was gained (docs/explanation/streams.md). The comparison cannot
/// tell, since in the stack's phases the copy into pages of their own takes up to a fifth longer.
const LARGE_BYTES: i32 = 128 << 10;
/// Points before the first comparison, which gives two: before it nothing was measured. So many, because the buffers still grow
/// then: with two, half of the streams left that gain by staying.
const FIRST_POINTS: i32 = 6;
/// Points of a stream that has stayed, at its next comparison.
const LATER_POINTS: i32 = 8;
/// With so many points a stream stays.
const STAY_POINTS: i32 = 12;
/// The binary logarithm of the bytes for which a time is kept: 1 KiB.
const KIB_SHIFT: i32 = 10;

fn pace<V>(field: Field<Pace, V>) -> Field<Socket, V> {
    Socket::PACE.then(field)
}

/// Goes on where the message is not too large for its stream to stay, else to `large`. Loses R1.
pub(in crate::dataplane) fn require_small(a: &mut Asm, options: &Options, large: Label) {
    if options.streams() == Streams::Auto {
        a.ld(R1, SK_MSG, SkMsg::LENGTH);
        a.require(R1.at_most(LARGE_BYTES), large, "messages of this size can gain something");
    }
}

/// Begins to measure, unless this has been done. Loses R0 to R5.
pub(in crate::dataplane) fn begin(a: &mut Asm, options: &Options) {
    if options.streams() != Streams::Auto {
        return;
    }
    a.emitter("begin", uses(), |a| {
        a.block("measured", |a, measured| {
            a.ld(R1, OWN, pace(Pace::PHASE));
            a.jump_if(R1.differs(0), measured);
            a.comment("what is unread now is read in a phase that counts for nothing");
            a.st(OWN, pace(Pace::PHASE), MIXED);
            a.st(OWN, pace(Pace::POINTS), FIRST_POINTS);
            a.st(OWN, pace(Pace::STACK), -1);
            a.st(OWN, pace(Pace::WORK), 0);
            a.st(OWN, pace(Pace::DRAINED), 0);
            a.call(helper::KTIME_GET_NS);
            a.st(OWN, pace(Pace::SEEN), R0);
            begins(a, R0);
        });
    });
}

/// The reader has read everything: a phase may end. Loses R1 and R2.
pub(in crate::dataplane) fn drained(a: &mut Asm, options: &Options) {
    if options.streams() != Streams::Auto {
        return;
    }
    a.emitter("drained", uses(), |a| {
        a.block("too_soon", |a, soon| {
            a.ld(R1, OWN, pace(Pace::WORK));
            config(a, R2, Value::PACE_WORK);
            a.rsh(R2, SOONER_SHIFT);
            a.jump_if(R1.below(R2), soon);
            a.st(OWN, pace(Pace::DRAINED), 1);
        });
    });
}

/// Goes on, with a reason to take the stack in a phase that is the stack's.
pub(in crate::dataplane) fn require(a: &mut Asm, options: &Options, offsets: &KernelOffsets, deferral: Deferral) {
    if options.streams() != Streams::Auto {
        return;
    }
    a.emitter("pace", uses(), |a| {
        a.block("unmeasured", |a, unmeasured| {
            let by_stack = a.label("by_stack");
            a.ld(R1, OWN, pace(Pace::PHASE));
            a.jump_if(R1.equals(0), unmeasured);
            a.block("phase_goes_on", |a, goes_on| {
                a.ld(R4, SK_MSG, SkMsg::LENGTH);
                a.ld(R2, OWN, pace(Pace::BYTES));
                a.add(R2, R4);
                a.st(OWN, pace(Pace::BYTES), R2);
                a.ld(R2, OWN, pace(Pace::WORK));
                a.add(R2, R4);
                a.add(R2, MESSAGE_WORK);
                a.st(OWN, pace(Pace::WORK), R2);
                a.block("looks", |a, looks| {
                    a.ld(R3, OWN, pace(Pace::DRAINED));
                    a.jump_if(R3.differs(0), looks);
                    config(a, R4, Value::PACE_WORK);
                    a.jump_if(R2.below(R4), goes_on);
                });
                look(a, goes_on);
                ends(a, by_stack);
            });
            a.comment("whose phase is it?");
            a.ld(R1, OWN, pace(Pace::PHASE));
            a.and(R1, 1);
            a.jump_if(R1.equals(0), unmeasured);
            a.bind(by_stack);
            deferral.note(a, offsets, Counter::PassStream);
        });
    });
}

/// A phase begins at the time in `now`. Loses R1.
fn begins(a: &mut Asm, now: Reg) {
    a.idiom("begins", Uses::nothing().reads([OWN.reg(), now]), |a| {
        a.st(OWN, pace(Pace::SINCE), now);
        a.st(OWN, pace(Pace::BYTES), 0);
        a.st(OWN, pace(Pace::PAUSES), 0);
    });
}

/// One look at the clock: R9 = the length of the phase in nanoseconds, when it ends; else to `goes_on`.
fn look(a: &mut Asm, goes_on: Label) {
    a.emitter("look", uses().gives([R1, R9]), |a| {
        a.st(OWN, pace(Pace::WORK), 0);
        a.call(helper::KTIME_GET_NS);
        a.mov(R9, R0);
        a.ld(R0, OWN, pace(Pace::DRAINED));
        a.st(OWN, pace(Pace::DRAINED), 0);
        a.ld(R1, OWN, pace(Pace::SEEN));
        a.st(OWN, pace(Pace::SEEN), R9);
        a.mov(R2, R9);
        a.sub(R2, R1);
        config(a, R4, Value::PACE_NANOS);
        a.mov(R3, R4);
        a.lsh(R3, PAUSE_SHIFT);
        a.ld(R1, OWN, pace(Pace::SINCE));
        a.block("no_pause", |a, no_pause| {
            a.jump_if(R2.at_most(R3), no_pause);
            a.comment(
                "the sender has paused, or sends slowly: a phase begins again, and one that is settled does not count it",
            );
            a.ld(R3, OWN, pace(Pace::PHASE));
            a.block("not_settled", |a, not_settled| {
                a.jump_if(R3.differs(SETTLED), not_settled);
                a.add(R1, R2);
                a.st(OWN, pace(Pace::SINCE), R1);
                a.goto(goes_on);
            });
            a.st(OWN, pace(Pace::SINCE), R9);
            a.st(OWN, pace(Pace::BYTES), 0);
            a.ld(R1, OWN, pace(Pace::PAUSES));
            a.add(R1, 1);
            a.st(OWN, pace(Pace::PAUSES), R1);
            a.jump_if(R1.below(PAUSES), goes_on);
            a.comment("not a stream any more");
            a.st(OWN, pace(Pace::PHASE), SETTLED);
            a.goto(goes_on);
        });
        a.sub(R9, R1);
        a.mov(R3, R4);
        a.ld(R1, OWN, pace(Pace::PHASE));
        a.if_(R1.equals(SETTLED), |a| a.lsh(R4, SETTLED_SHIFT));
        a.comment("three phases longer where the reader has not read everything");
        a.if_(R0.equals(0), |a| {
            a.add(R4, R3);
            a.add(R4, R3);
            a.add(R4, R3);
        });
        a.jump_if(R9.below(R4), goes_on);
    });
}

/// The next phase begins, after R9 nanoseconds of the phase in R1. A pair that loses by staying is to leave, and goes to `by_stack`.
fn ends(a: &mut Asm, by_stack: Label) {
    a.emitter("ends", uses().reads([R1, R9]), |a| {
        a.comment("nanoseconds for each KiB");
        a.lsh(R9, KIB_SHIFT);
        a.ld(R2, OWN, pace(Pace::BYTES));
        a.div(R9, R2);
        a.ld(R2, OWN, pace(Pace::SEEN));
        begins(a, R2);
        a.block("next", |a, next| {
            a.block("compares", |a, compares| {
                a.jump_if(R1.equals(MIXED), compares);
                a.block("retries", |a, retries| {
                    a.jump_if(R1.equals(SETTLED), retries);
                    a.st(OWN, pace(Pace::STACK), R9);
                    a.st(OWN, pace(Pace::PHASE), MIXED);
                    a.goto(next);
                });
                a.st(OWN, pace(Pace::POINTS), LATER_POINTS);
                a.st(OWN, pace(Pace::PHASE), STACK);
                a.goto(next);
            });
            a.st(OWN, pace(Pace::PHASE), STACK);
            a.ld(R2, OWN, pace(Pace::STACK));
            a.mov(R3, R9);
            a.rsh(R3, MARGIN_SHIFT);
            a.ld(R1, SK_MSG, SkMsg::LENGTH);
            a.if_(R1.above(MEDIUM_BYTES), |a| a.lsh(R3, 1));
            a.add(R3, R9);
            a.ld(R1, OWN, pace(Pace::POINTS));
            a.if_else(
                R3.at_most(R2),
                |a| {
                    a.add(R1, 1);
                    a.comment("twice as fast counts twice");
                    a.add(R9, R9);
                    a.if_(R9.at_most(R2), |a| a.add(R1, 1));
                },
                |a| {
                    a.sub(R1, 1);
                    a.comment("not faster at all counts twice");
                    a.if_(R9.at_least(R2), |a| a.sub(R1, 1));
                },
            );
            a.st(OWN, pace(Pace::POINTS), R1);
            a.block("undecided", |a, undecided| {
                a.jump_if(R1.signed_below(1), undecided);
                a.jump_if(R1.below(STAY_POINTS), next);
                a.st(OWN, pace(Pace::PHASE), SETTLED);
                a.goto(next);
            });
            set_flags(a, socket::UNENROLLING);
            a.comment("a pair that comes back begins from the start");
            a.st(OWN, pace(Pace::PHASE), 0);
            a.goto(by_stack);
        });
    });
}
