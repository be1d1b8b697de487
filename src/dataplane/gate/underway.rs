//! Messages of other threads that may be underway: between their verdict and the peer's queue.
//!
//! The kernel gives up the sender's lock there. A second thread's message that took the stack meanwhile would be found by a reader
//! that finds no redirected one yet. If that reader is late, it reads what the first thread sends next by the stack, too, and only
//! then its redirected message. So a message takes the stack only when none can be underway; otherwise it is redirected as well, as if
//! the one underway were in the queue already.
//!
//! `tcp_bpf_sendmsg` holds a reference on its socket's psock all the way: without other references none is underway. A reference may
//! also be that of a thread that waits for the lock, or of one that reads. Then a pair that leaves could be taken out between this look
//! and the queue. So who takes it out writes down the [`Head::SENT`] for which it has seen this socket alone, and looks at
//! [`Head::SENT`] once more behind a full barrier. We have counted [`Head::SENT`] up, and look at that number behind the barrier of
//! `gate::deferral`. Either we see that no message before this one is underway, or the pair does not leave now.

use crate::asm::Reg::{R1, R2, R8, R9};
use crate::asm::{Asm, Label, Ptr, Slot, Uses};
use crate::dataplane::emit::clear_flags;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::{TcpSock, Word};
use crate::dataplane::kernel::psock::{psock, require_alone};
use crate::dataplane::options::Options;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// So many messages in a row are redirected at most because another one may be underway. Threads that are never apart would otherwise
/// exceed every bound of the queue.
const MOST: i32 = 8;

/// What a message that is to take the stack knows.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Underway {
    /// Not 0 when the message may be redirected instead.
    may_redirect: Slot<u64>,
}

impl Underway {
    /// Takes its stack slot, until the frame ends in which this is called.
    pub(in crate::dataplane) fn new(a: &mut Asm) -> Self {
        Self { may_redirect: a.slot("may be redirected") }
    }

    /// Goes to `settled` when the message may take the stack, else to `redirects`. Here begins a message that has passed the gate up to the
    /// queue, at `passed` any other, which takes the stack in any case. Keeps R9.
    pub(in crate::dataplane) fn settle(
        self,
        a: &mut Asm,
        options: &Options,
        offsets: &KernelOffsets,
        [passed, redirects]: [Label; 2],
        settled: Label,
    ) {
        a.emitter("underway", Uses::scratch().reads([OWN.reg(), R9]).writes(R8), |a| {
            let begins = a.label("look_for_others");
            a.set(self.may_redirect, 1);
            a.goto(begins);
            a.bind(passed);
            a.set(self.may_redirect, 0);
            a.bind(begins);
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.any_of(socket::UNDERWAY), settled, "one has been redirected since");
            a.block("alone", |a, alone| {
                let [others, gives_up] = ["others", "gives_up"].map(|name| a.label(name));
                let sk = Ptr::<TcpSock>::new(R8);
                a.ld(sk.reg(), OWN, Socket::OWN_SK);
                offsets.open(a, sk);
                let psock = psock(a, offsets, R8, sk, gives_up, gives_up);
                require_alone(a, offsets, psock, R8, 1, others);
                a.goto(alone);
                a.bind(others);
                if options.forces() {
                    a.get(R1, self.may_redirect);
                    a.require(R1.differs(0), gives_up, "it has passed the gate up to the queue");
                    a.ld(R1, OWN, Socket::UNSURE);
                    a.require(R1.below(MOST), gives_up, "few have been redirected for this");
                    a.comment("a message that sees that the pair leaves has a full barrier behind its SENT");
                    let peer = Ptr::<Socket>::new(R8);
                    a.ld(peer.reg(), OWN, Socket::PEER_STORAGE);
                    offsets.open(a, Ptr::<Word>::new(peer.reg()));
                    for (seen, name) in [
                        (Socket::SEEN_ALONE, "a callback has seen that none is underway"),
                        (Socket::DRAIN_ALONE, "the drain has seen that none is underway"),
                    ] {
                        offsets.read(a, R1, peer, seen, gives_up);
                        a.add32(R1, 1);
                        a.ld(R2, OWN, Head::SENT);
                        a.permit(R1.w().equals(R2), alone, name);
                    }
                    a.ld(R1, OWN, Socket::UNSURE);
                    a.add(R1, 1);
                    a.st(OWN, Socket::UNSURE, R1);
                    a.goto(redirects);
                }
                a.bind(gives_up);
                a.comment("from here on what has been redirected is not the last message any more");
                a.st(OWN, Socket::UNSURE, MOST);
                a.goto(settled);
            });
            clear_flags(a, socket::UNDERWAY);
            a.st(OWN, Socket::UNSURE, 0);
        });
    }
}
