//! Order: a message is redirected only when the receiver has read all that came by the stack.

use crate::asm::Reg::{R1, R7, R8, R9};
use crate::asm::{Asm, Cond, Size};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::endpoints;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::options::{Options, Readers};
use crate::dataplane::state::{Counter, socket};

/// No byte of ours is in flight or unread on the stack path; R8 is the peer.
///
/// A reader that may block can also sleep inside the call that read our last stack bytes, with the lock given up
/// (MSG_WAITALL). So where such readers are served, a message by the stack is the last of its direction
/// (`sk_msg`), and there is no call to wait for.
pub(in crate::dataplane) fn require(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let order = exits.to(a, Counter::PassOrder);
    a.comment("order: peer.copied_seq == own.write_seq");
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R9, Size::W, R9, offsets.write_seq, stale);
    offsets.read(a, R1, Size::W, R8, offsets.copied_seq, stale);
    a.jump32(Cond::Ne, R1, R9, order);
    if options.readers == Readers::Any {
        return;
    }
    let busy = exits.to(a, Counter::PassBusy);
    let [look, quiet] = ["look_for_reader", "quiet"].map(|name| a.label(name));
    a.load(Size::W, R1, R7, socket::FLAGS);
    a.jump(Cond::Set, R1, socket::QUIET, look);
    let check = a.label("check_reader");
    a.goto(check);
    a.bind(look);
    a.load(Size::W, R1, R7, socket::LAST_SEQ);
    a.jump32(Cond::Eq, R1, R9, quiet);
    a.bind(check);
    a.comment("the call that read our last stack bytes must be over: inside it, later stack bytes would overtake");
    offsets.read(a, R1, Size::W, R8, offsets.lock_owned, stale);
    a.jump32(Cond::Ne, R1, 0, busy);
    a.comment("and it may not sleep there with the lock given up, as it does in MSG_WAITALL");
    endpoints::require_nonblocking_receiver(a, offsets, exits);
    a.store(Size::W, R7, socket::LAST_SEQ, R9);
    set_flags(a, socket::QUIET);
    a.bind(quiet);
}
