//! Kernels on which FIONREAD does not see redirected bytes (those without commit 929e30f93125), and readers that trust it.
//!
//! nginx (1.17.5 and later) asks how much is left whenever its buffer is full, and takes 0 for an order to wait. Nothing
//! says of a socket whether it will be asked. But such a reader is edge-triggered, and finds its own state by an address that
//! it has registered with epoll; those that register the descriptor (libevent, and so Envoy; Netty) or an address with a tag
//! (Go) do not ask. So a pair whose receiver is of the first kind leaves, and before a receiver is watched at
//! all, the stack takes what comes: until it has sent something itself, as who calls poll(2) will.

use crate::asm::Reg::{R1, R2, R7};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::epoll;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::slots::DATA_SLOT;
use crate::dataplane::kernel::{EpollFields, KernelOffsets};
use crate::dataplane::state::{Config, Counter, MapRole, socket};

/// No program has addresses from 2 to this power on (`TASK_SIZE_MAX`, four levels of page tables).
const ADDRESS_BITS: i32 = 47;

/// In the gate: goes on when the peer (R8) will not ask. R7 is our storage; uses R9. `leave` is where pairs go that have no
/// place in the sockhash.
pub(in crate::dataplane) fn require_no_asker(
    a: &mut Asm,
    offsets: &KernelOffsets,
    epoll: &EpollFields,
    leave: Label,
    exits: &mut Exits,
) {
    let unaccepted = exits.to(a, Counter::PassUnaccepted);
    let [harmless, answered] = ["never_asks", "asks_or_not"].map(|name| a.label(name));
    a.load_map_value(R1, MapRole::Config.map_ref(), Config::SPARE_ASKERS as u32);
    a.load(Size::W, R1, R1, 0);
    a.jump(Cond::Eq, R1, 0, answered);
    // Elsewhere our caller looks at both ends only once, and remembers it.
    let each_time = offsets.casts.is_some();
    if each_time {
        a.load(Size::W, R1, R7, socket::FLAGS);
        a.jump(Cond::Set, R1, socket::ENDS_OK, answered);
    }
    epoll::each(a, offsets, epoll, unaccepted, |a, next| {
        epoll::require_edge(a, epoll, harmless);
        epoll::field(a, R1, Size::DW, epoll.data, next);
        a.store(Size::DW, FP, DATA_SLOT, R1);
        a.rsh(R1, ADDRESS_BITS);
        a.jump(Cond::Ne, R1, 0, harmless);
        epoll::field(a, R1, Size::W, epoll.fd, next);
        a.load(Size::DW, R2, FP, DATA_SLOT);
        a.jump(Cond::Eq, R1, R2, harmless);
        a.goto(leave);
    });
    a.load(Size::W, R1, R7, socket::PEER_SENT);
    a.jump(Cond::Eq, R1, 0, unaccepted);
    a.bind(harmless);
    if each_time {
        set_flags(a, socket::ENDS_OK);
    }
    a.bind(answered);
}
