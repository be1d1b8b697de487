//! Messages that are to take the stack although redirected ones are still unread.
//!
//! A message by the stack has an event of its own, but a reader that is told once (EPOLLET) and stops at a short read, as
//! nginx and tokio do, gets one event for all that came before it looked, and reads the redirected bytes only. So who
//! wants a connection on the stack (the soft switch, a pair that leaves, a stream) leaves its reason here, and the gate
//! goes on for such a reader until its queue is empty, or full.
//!
//! Whoever takes sockets out of the sockhash must therefore see that no message passed the gate while it looked:
//! [`socket::SENT`] stands still.

use crate::asm::Reg::{R1, R7, R9};
use crate::asm::{Asm, AtomicOp, Cond, FP, Label, Size};
use crate::dataplane::gate::slots::REASON_SLOT;
use crate::dataplane::state::{Counter, socket};

/// Nothing speaks for the stack so far.
pub(in crate::dataplane) fn begin(a: &mut Asm) {
    a.store(Size::DW, FP, REASON_SLOT, 0);
}

/// The message is to take the stack as soon as that harms nobody, and `counter` counts it. R7 is our storage.
#[track_caller]
pub(in crate::dataplane) fn note(a: &mut Asm, counter: Counter) {
    a.store(Size::DW, FP, REASON_SLOT, i32::from(counter.offset()));
    a.comment("a full barrier between our SENT and the look at the peer's queue (x86: any locked instruction)");
    a.mov(R1, 0);
    a.atomic(AtomicOp::Add { fetch: false }, Size::W, R7, socket::SENT, R1);
}

/// Goes to `pass` when something speaks for the stack.
#[track_caller]
pub(in crate::dataplane) fn require_none(a: &mut Asm, pass: Label) {
    a.load(Size::DW, R1, FP, REASON_SLOT);
    a.jump(Cond::Ne, R1, 0, pass);
}

/// R9 = the place of the counter that was noted.
pub(in crate::dataplane) fn counter(a: &mut Asm) {
    a.load(Size::DW, R9, FP, REASON_SLOT);
}
