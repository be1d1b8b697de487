//! The epoll instances that watch a socket, and how.

use crate::asm::Reg::{self, R1, R2, R3, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::gate::slots::{FILE_SLOT, ITEM_SLOT};
use crate::dataplane::kernel::probe::probe;
use crate::dataplane::kernel::{EpollFields, KernelOffsets};

/// How many of a socket's waiters are looked at.
const WATCHERS: usize = 2;

/// Emits `look` for each waiter of the peer's socket (R8) that is an epoll item: it may use all registers but R6 to R9,
/// and goes on to the label it is given. Goes to `unaccepted` when the socket has no file.
#[track_caller]
pub(in crate::dataplane) fn each(
    a: &mut Asm,
    offsets: &KernelOffsets,
    epoll: &EpollFields,
    unaccepted: Label,
    mut look: impl FnMut(&mut Asm, Label),
) {
    let seen = a.label("watchers_seen");
    probe(a, R9, Size::DW, R8, i32::from(offsets.socket), seen);
    a.jump(Cond::Eq, R9, 0, unaccepted);
    probe(a, R9, Size::DW, R9, i32::from(offsets.file), seen);
    a.jump(Cond::Eq, R9, 0, unaccepted);
    a.store(Size::DW, FP, FILE_SLOT, R9);
    probe(a, R9, Size::DW, R8, i32::from(epoll.queue), seen);
    a.add(R9, i32::from(epoll.list));
    // An epoll instance stays in the list; who calls poll(2) may be before it while it waits.
    for _ in 0..WATCHERS {
        let next = a.label("next_watcher");
        probe(a, R9, Size::DW, R9, 0, seen);
        probe(a, R3, Size::DW, R9, i32::from(epoll.to_item), next);
        a.store(Size::DW, FP, ITEM_SLOT, R3);
        a.comment("other kinds of waiters, and the list's head, have no item that watches this file");
        field(a, R1, Size::DW, epoll.file, next);
        a.load(Size::DW, R2, FP, FILE_SLOT);
        a.jump(Cond::Ne, R1, R2, next);
        look(a, next);
        a.bind(next);
    }
    a.bind(seen);
}

/// In `look`: goes to `level` unless the item is edge-triggered.
#[track_caller]
pub(in crate::dataplane) fn require_edge(a: &mut Asm, epoll: &EpollFields, level: Label) {
    field(a, R1, Size::W, epoll.events, level);
    // EPOLLET, include/uapi/linux/eventpoll.h.
    a.rsh(R1, 31);
    a.jump(Cond::Eq, R1, 0, level);
}

/// In `look`: `dst` = a field of the item.
#[track_caller]
pub(in crate::dataplane) fn field(a: &mut Asm, dst: Reg, size: Size, offset: u16, fail: Label) {
    a.load(Size::DW, R3, FP, ITEM_SLOT);
    probe(a, dst, size, R3, i32::from(offset), fail);
}
