//! Pairs that joined the sockhash when their connections existed already.
//!
//! A reader may have entered recv(2) before that, and wait for the socket's lock: it will read as plain TCP does, which sees
//! bytes of the stack only, however late it gets the lock. So the first message of each direction takes the stack. The thread
//! that reads that message has left such a call by then, and enters the next one as a member's.

use crate::asm::Reg::{R1, R2, R9};
use crate::asm::{Asm, Label, Ptr};
use crate::dataplane::emit::{config, set_flags};
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::fionread;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::probe::probe;
use crate::dataplane::options::Options;
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// Goes on when a message that we have sent since the peer became a member has been read. All our stack bytes have been, up to
/// our `write_seq`, which is in R9, and no thread is inside a call that reads.
pub(in crate::dataplane) fn require_read_since(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    exits: &mut Exits,
) {
    if !options.pairs_join_late() {
        return;
    }
    let [stale, absent, busy] =
        [Counter::PassStale, Counter::PassAbsent, Counter::PassBusy].map(|counter| exits.to(a, counter));
    a.emitter("late", uses_peer().reads(R9), |a| {
        a.block("both_in_time", |a, known| {
            if options.joins_later() {
                a.comment("of two ends one may be trusted by name, and a member from the start");
                a.ld(R1, OWN, Socket::PEER_STORAGE);
                probe(a, R1, Ptr::<Head>::new(R1), Head::FLAGS, stale);
                a.ld(R2, OWN, Head::FLAGS);
                a.or(R1, R2);
            } else {
                a.ld(R1, OWN, Head::FLAGS);
            }
            a.and(R1, socket::LATE);
            a.permit(R1.equals(0), known, "both ends have been members from the start");
            a.ld(R1, OWN, Head::FLAGS);
            a.permit(R1.any_of(socket::QUIET), known, "our first message has been read");
            spare_asker(a, offsets, known);
            a.ld(R1, OWN, Head::FLAGS);
            a.and(R1, socket::BEGUN);
            a.guard(R1.equals(0), "the first message of a pair that joined late takes the stack", |a| {
                a.comment("its psock is there before its recv(2) is a member's, but under the lock, which has to be taken to read");
                offsets.read(a, R1, PEER, offsets.user_data, stale);
                a.require(R1.differs(0), absent, "the peer is a member");
                a.st(OWN, Socket::LAST_SEQ, R9);
                set_flags(a, socket::BEGUN);
                a.goto(busy);
            });
            a.ld(R1, OWN, Socket::LAST_SEQ);
            a.require(R1.w().differs(R9), busy, "our first message has been sent");
        });
    });
}

/// Goes to `redirects` when the reader may ask FIONREAD, where that does not see the stack's bytes: it would wait for an event that
/// has been.
fn spare_asker(a: &mut Asm, offsets: &KernelOffsets, redirects: Label) {
    let Some(epoll) = &offsets.epoll else { return };
    a.emitter("spare_asker", uses_peer().reads(R9), |a| {
        a.block("sees_the_stack", |a, sees| {
            config(a, R1, Value::REDIRECT_UNACCEPTED);
            a.permit(R1.equals(0), sees, "its FIONREAD sees the stack's bytes");
            let write_seq = a.slot::<u64>("write_seq");
            a.set(write_seq, R9);
            a.block("first_by_stack", |a, harmless| {
                a.block("may_ask", |a, asker| {
                    fionread::look(a, offsets, epoll, [harmless, harmless, asker]);
                    a.goto(harmless);
                });
                a.get(R9, write_seq);
                a.goto(redirects);
            });
            a.get(R9, write_seq);
        });
    });
}
