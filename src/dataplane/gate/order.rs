//! Order: a message is redirected only when the receiver has read all that came by the stack.

use crate::asm::Reg::{R1, R9};
use crate::asm::{Asm, Ptr};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::gate::{endpoints, late, reader};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{Options, Readers};
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// No byte of ours is in flight or unread on the stack path.
///
/// A reader that may block can also sleep inside the call that read our last stack bytes, with the lock given up
/// (MSG_WAITALL). So where such readers are served, a message by the stack is the last of its direction
/// (`sk_msg`), and there is no call to wait for.
pub(in crate::dataplane) fn require(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let [stale, order] = [Counter::PassStale, Counter::PassOrder].map(|counter| exits.to(a, counter));
    a.emitter("order", uses_peer(), |a| {
        a.comment("order: peer.copied_seq == own.write_seq");
        let own = Ptr::<TcpSock>::new(R9);
        a.ld(own.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, own);
        offsets.read(a, R9, own, offsets.write_seq, stale);
        offsets.read(a, R1, PEER, offsets.copied_seq, stale);
        a.require(R1.w().equals(R9), order, "all our stack bytes are read");
        if options.readers == Readers::NonBlocking {
            reader_is_outside(a, options, offsets, exits);
        } else {
            a.comment("its queue is looked at as it is since then: a reader that waits for all has emptied it before it read the stack");
            offsets.load_barrier(a);
        }
    });
}

/// The call that read our last stack bytes is over; R9 is our write_seq. It is asked once for each write_seq.
fn reader_is_outside(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let [stale, busy] = [Counter::PassStale, Counter::PassBusy].map(|counter| exits.to(a, counter));
    let check = a.label("check_reader");
    a.emitter("outside", uses_peer().reads(R9), |a| {
        a.block("quiet", |a, quiet| {
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.any_of(socket::QUIET), check, "it has been quiet before");
            a.ld(R1, OWN, Socket::LAST_SEQ);
            a.permit(R1.w().equals(R9), quiet, "and nothing has taken the stack since");
            a.bind(check);
            reader::require_received(a, options, exits);
            a.comment(
                "the call that read our last stack bytes must be over: inside it, later stack bytes would overtake",
            );
            offsets.load_barrier(a);
            offsets.read(a, R1, PEER, offsets.lock_owned, stale);
            a.require(R1.w().equals(0), busy, "no thread is inside a call");
            a.comment("and it may not sleep there with the lock given up, as it does in MSG_WAITALL");
            endpoints::require_nonblocking_receiver(a, offsets, exits);
            late::require_read_since(a, options, offsets, exits);
            a.st(OWN, Socket::LAST_SEQ, R9);
            set_flags(a, socket::QUIET);
        });
    });
}
