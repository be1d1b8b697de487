//! The epoll instances that watch a socket, and how.

use crate::asm::Reg::{self, R1, R2, R3, R9};
use crate::asm::{Asm, Field, Label, Ptr, Scalar, Slot, Uses};
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::objects::{EpollItem, ListHead, Socket, WaitQueue};
use crate::dataplane::kernel::probe::probe;
use crate::dataplane::kernel::{EpollFields, KernelOffsets};

/// How many of a socket's waiters are looked at.
const WATCHERS: usize = 2;

/// An epoll item, while one is looked at.
pub(in crate::dataplane) struct Item<'a> {
    fields: &'a EpollFields,
    /// Its address.
    address: Slot<u64>,
    /// Where to go on to the next waiter.
    pub(in crate::dataplane) next: Label,
}

/// Emits `look` for each waiter of the peer's socket that is an epoll item: it may use R0 to R5, and goes on to the next.
/// Goes to `unaccepted` when the socket has no file.
#[track_caller]
pub(in crate::dataplane) fn each(
    a: &mut Asm,
    offsets: &KernelOffsets,
    epoll: &EpollFields,
    unaccepted: Label,
    mut look: impl FnMut(&mut Asm, &Item<'_>),
) {
    a.emitter("epoll", uses_peer(), |a| {
        a.frame(|a| {
            let [file, address] = [a.slot::<u64>("file"), a.slot::<u64>("item")];
            a.block("watchers_seen", |a, seen| {
                let (socket, queue, list) =
                    (Ptr::<Socket>::new(R9), Ptr::<WaitQueue>::new(R9), Ptr::<ListHead>::new(R9));
                probe(a, socket.reg(), PEER, offsets.socket, seen);
                a.require(R9.differs(0), unaccepted, "the peer has a socket");
                probe(a, R9, socket, offsets.file, seen);
                a.require(R9.differs(0), unaccepted, "the peer has a file");
                a.set(file, R9);
                probe(a, queue.reg(), PEER, epoll.queue, seen);
                a.add(queue.reg(), epoll.list.offset());
                // An epoll instance stays in the list; who calls poll(2) may be before it while it waits.
                for _ in 0..WATCHERS {
                    a.block("next_watcher", |a, next| {
                        let item = Item { fields: epoll, address, next };
                        probe(a, R9, list, ListHead::NEXT, seen);
                        probe(a, R3, list, epoll.item_of_entry(), next);
                        a.set(address, R3);
                        a.comment("other kinds of waiters, and the list's head, have no item that watches this file");
                        item.field(a, R1, item.fields.file, next);
                        a.get(R2, file);
                        a.require(R1.equals(R2), next, "it watches this file");
                        look(a, &item);
                    });
                }
            });
        });
    });
}

impl Item<'_> {
    /// Goes on when the item is edge-triggered, else to `level`.
    #[track_caller]
    pub(in crate::dataplane) fn require_edge(&self, a: &mut Asm, level: Label) {
        a.idiom("edge", Uses::scratch(), |a| {
            self.field(a, R1, self.fields.events, level);
            // EPOLLET, include/uapi/linux/eventpoll.h.
            a.rsh(R1, 31);
            a.require(R1.differs(0), level, "it is edge-triggered");
        });
    }

    /// `dst` = a field of the item.
    #[track_caller]
    pub(in crate::dataplane) fn field<V: Scalar>(
        &self,
        a: &mut Asm,
        dst: Reg,
        field: Field<EpollItem, V>,
        fail: Label,
    ) {
        a.idiom("item", Uses::scratch().gives(dst), |a| {
            let item = Ptr::<EpollItem>::new(R3);
            a.get(item.reg(), self.address);
            probe(a, dst, item, field, fail);
        });
    }
}
