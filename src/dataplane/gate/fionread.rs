//! Kernels on which FIONREAD does not see redirected bytes (those without commit 929e30f93125), and readers that trust it.
//!
//! nginx (1.17.5 and later) asks how much is left whenever its buffer is full, and takes 0 for an order to wait. Nothing
//! says of a socket whether it will be asked. But such a reader is edge-triggered, and finds its own state by an address that
//! it has registered with epoll; those that register the descriptor (libevent, and so Envoy; Netty) or an address with a tag
//! (Go) do not ask. So a pair whose receiver is of the first kind leaves, and before a receiver is watched at
//! all, the stack takes what comes: until it has sent something itself, as who calls poll(2) will.

use crate::asm::Reg::{R1, R2};
use crate::asm::{Asm, Label};
use crate::dataplane::emit::{config, set_flags};
use crate::dataplane::gate::epoll;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::roles::uses_peer;
use crate::dataplane::kernel::{EpollFields, KernelOffsets};
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// No program has addresses from 2 to this power on (`TASK_SIZE_MAX`, four levels of page tables).
const ADDRESS_BITS: i32 = 47;

/// Goes on when the peer will not ask. `leave` is where pairs go that have no place in the sockhash.
pub(in crate::dataplane) fn require_no_asker(
    a: &mut Asm,
    offsets: &KernelOffsets,
    epoll: &EpollFields,
    leave: Label,
    exits: &mut Exits,
) {
    let unaccepted = exits.to(a, Counter::PassUnaccepted);
    // Elsewhere our caller looks at both ends only once, and remembers it.
    let each_time = offsets.casts.is_some();
    a.emitter("asker", uses_peer(), |a| {
        a.block("asks_or_not", |a, answered| {
            config(a, R1, Value::SPARE_ASKERS);
            a.jump_if(R1.equals(0), answered);
            if each_time {
                a.ld(R1, OWN, Head::FLAGS);
                a.permit(R1.any_of(socket::ENDS_OK), answered, "it has been looked at");
            }
            a.block("never_asks", |a, harmless| {
                look(a, offsets, epoll, [unaccepted, harmless, leave]);
                a.ld(R1, OWN, Socket::PEER_SENT);
                a.require(R1.differs(0), unaccepted, "it has sent something itself");
            });
            if each_time {
                set_flags(a, socket::ENDS_OK);
            }
        });
    });
}

/// Where FIONREAD does not see what came by the stack to a member: the message takes the stack, and the pair leaves when its
/// receiver may ask.
pub(in crate::dataplane) fn release_asker(a: &mut Asm, offsets: &KernelOffsets, epoll: &EpollFields) {
    a.emitter("release", uses_peer(), |a| {
        a.block("never_asks_here", |a, harmless| {
            a.block("may_ask", |a, asker| {
                look(a, offsets, epoll, [harmless, harmless, asker]);
                a.goto(harmless);
            });
            set_flags(a, socket::UNENROLLING);
        });
    });
}

/// Goes to `asker` when the peer may ask, to `harmless` when it will not, to `unaccepted` when it has no file yet, and on
/// when no epoll instance watches it.
pub(in crate::dataplane) fn look(
    a: &mut Asm,
    offsets: &KernelOffsets,
    epoll: &EpollFields,
    [unaccepted, harmless, asker]: [Label; 3],
) {
    a.frame(|a| {
        let registered = a.slot::<u64>("data");
        epoll::each(a, offsets, epoll, unaccepted, |a, item| {
            item.require_edge(a, harmless);
            item.field(a, R1, epoll.data, item.next);
            a.set(registered, R1);
            a.rsh(R1, ADDRESS_BITS);
            a.permit(R1.differs(0), harmless, "it is registered by no address");
            item.field(a, R1, epoll.fd, item.next);
            a.get(R2, registered);
            a.permit(R1.equals(R2), harmless, "it is registered by its descriptor");
            a.goto(asker);
        });
    });
}
