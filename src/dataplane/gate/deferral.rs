//! Messages that are to take the stack although redirected ones are still unread.
//!
//! A message by the stack has an event of its own, but a reader that gets one event (EPOLLET) and stops at a short read, as
//! nginx and tokio do, gets one event for all that came before it looked, and reads the redirected bytes only. So who
//! wants a connection on the stack (the soft switch, a pair that leaves, a stream) leaves its reason here, and the gate
//! goes on for such a reader until its queue is empty, or full.
//!
//! A program that takes sockets out of the sockhash must therefore see that no message passed the gate while it looked:
//! [`Head::SENT`] stands still.

use crate::asm::Reg::{R1, R9};
use crate::asm::{Asm, Label, Slot, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{Head, OWN};

/// The reason for which the message should take the stack.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Deferral {
    /// The place of its counter; 0 while nothing speaks for the stack.
    reason: Slot<u64>,
    /// Where a message goes that takes the stack for that reason.
    pub(in crate::dataplane) exit: Label,
}

impl Deferral {
    /// Takes its stack slot, until the frame ends in which this is called.
    pub(in crate::dataplane) fn new(a: &mut Asm) -> Self {
        Self { reason: a.slot("reason"), exit: a.label("pass_deferred") }
    }

    /// Nothing speaks for the stack so far.
    #[track_caller]
    pub(in crate::dataplane) fn begin(self, a: &mut Asm) {
        a.idiom("defer", Uses::nothing(), |a| a.set(self.reason, 0));
    }

    /// The message is to take the stack as soon as that does no harm, and `counter` counts it. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn note(self, a: &mut Asm, offsets: &KernelOffsets, counter: Counter) {
        a.idiom("defer", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
            a.set(self.reason, counter.field().offset());
            a.comment("a full barrier between our SENT and the look at the peer's queue");
            offsets.full_barrier(a, Head::SENT);
        });
    }

    /// The same before [`Head::SENT`] is counted up: [`Self::order`] has the barrier.
    #[track_caller]
    pub(in crate::dataplane) fn note_early(self, a: &mut Asm, counter: Counter) {
        a.idiom("defer", Uses::nothing(), |a| a.set(self.reason, counter.field().offset()));
    }

    /// Behind that, for a reason that was noted early. Where counting up is a full barrier by itself, none is missing. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn order(self, a: &mut Asm, offsets: &KernelOffsets) {
        if offsets.weakly_ordered {
            return;
        }
        a.idiom("defer", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
            a.get(R1, self.reason);
            a.guard(R1.differs(0), "what was noted before SENT has its barrier behind it", |a| {
                offsets.full_barrier(a, Head::SENT);
            });
        });
    }

    /// Goes on when nothing speaks for the stack, else to `pass`. `name` is the check's. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn require_none(self, a: &mut Asm, pass: Label, name: &str) {
        a.idiom("deferral", Uses::nothing().writes(R1), |a| {
            a.get(R1, self.reason);
            a.require(R1.equals(0), pass, name);
        });
    }

    /// R9 = the place of the counter that was noted.
    pub(in crate::dataplane) fn counter(self, a: &mut Asm) {
        a.idiom("deferral", Uses::nothing().gives(R9), |a| a.get(R9, self.reason));
    }
}
