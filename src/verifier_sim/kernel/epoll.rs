//! Who waits for a socket: the list of `sk_wq`, with entries of epoll instances and of others.

use super::World;
use super::layout;
use super::socket::SocketId;
use crate::verifier_sim::interp::{Access, Machine, RegionId, RegionKind};

/// Most waiters that a socket can have here.
pub const MAX_WAITERS: usize = 3;

/// `EPOLLET` (include/uapi/linux/eventpoll.h).
const EPOLLET: u32 = 1 << 31;
/// `EPOLLIN`.
const EPOLLIN: u32 = 1;

/// An entry in the list of those who wait for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A thread inside poll(2), whose entry has another structure.
    Poll,
    /// A registration with an epoll instance.
    Epoll {
        /// EPOLLET: notified once for each arrival.
        edge: bool,
        /// `epoll_event.data`.
        data: u64,
        /// The descriptor it was registered by.
        fd: u32,
    },
}

/// Memory of a socket's list of waiters.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitList {
    /// `struct socket_wq`.
    pub(super) queue: RegionId,
    /// Of each waiter, `struct eppoll_entry` and `struct epitem`.
    entries: [(RegionId, RegionId); MAX_WAITERS],
}

impl WaitList {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let mut add = || machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::WAITER_SIZE]);
        Self { queue: add(), entries: [(); MAX_WAITERS].map(|()| (add(), add())) }
    }

    /// Writes the list `waiters` of the socket with this file.
    pub(super) fn publish(&self, machine: &mut Machine, file: RegionId, waiters: &[Waiter]) {
        // As the kernel's lists, this one ends where it begins.
        let head = self.queue.address() + layout::WAIT_HEAD as u64;
        let mut link = (self.queue, layout::WAIT_HEAD);
        for (waiter, (entry, item)) in waiters.iter().zip(&self.entries) {
            let place = entry.address() + layout::WAIT_ENTRY as u64;
            layout::put(machine.memory.bytes_mut(link.0), link.1, &place.to_ne_bytes());
            link = (*entry, layout::WAIT_ENTRY);
            let (watched, edge, data, fd) = match waiter {
                // Where an epoll instance's entry has its item, another structure may have anything.
                Waiter::Poll => (0, true, item.address(), 0),
                Waiter::Epoll { edge, data, fd } => (file.address(), *edge, *data, *fd),
            };
            let bytes = machine.memory.bytes_mut(*item);
            layout::put(bytes, layout::ITEM_FILE, &watched.to_ne_bytes());
            layout::put(bytes, layout::ITEM_FD, &fd.to_ne_bytes());
            let events = if edge { EPOLLIN | EPOLLET } else { EPOLLIN };
            layout::put(bytes, layout::ITEM_EVENTS, &events.to_ne_bytes());
            layout::put(bytes, layout::ITEM_DATA, &data.to_ne_bytes());
            layout::put(machine.memory.bytes_mut(*entry), layout::ENTRY_BASE, &item.address().to_ne_bytes());
        }
        layout::put(machine.memory.bytes_mut(link.0), link.1, &head.to_ne_bytes());
    }
}

impl World {
    /// These wait for the socket now, at most [`MAX_WAITERS`]. A registration looks at once whether there is something to
    /// read (`ep_insert`), so its reader is notified of what waits.
    pub fn set_waiters(&mut self, id: SocketId, waiters: &[Waiter]) {
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| socket.accepted && !socket.closed) else { return };
        socket.waiters = waiters[..waiters.len().min(MAX_WAITERS)].to_vec();
        socket.notified |= socket.has_unread();
        socket.wait_list.publish(&mut self.machine, socket.file_regions[1], &socket.waiters);
    }
}
