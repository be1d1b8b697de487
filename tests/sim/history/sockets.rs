//! What must be so of sockets for messages to be redirected between them, said again and in another way than the programs.

use sidestep::verifier_sim::kernel::{Socket, Waiter};

use super::form::{Form, OPTIONS};

/// The largest message that finds room in an empty queue, however small the buffers (src/dataplane/gate/backpressure.rs).
pub(super) const FIRST_BYTES: u32 = 64 << 10;

/// Memory that a redirected message pins beside its bytes (src/dataplane/gate/backpressure.rs).
const MESSAGE_MEMORY: u32 = 2048;

/// Why messages may not be redirected between two ends, whatever else they do.
pub(super) fn ends_fault(form: Form, sender: &Socket, receiver: &Socket) -> Option<&'static str> {
    if an_end_blocks(form, sender, receiver) {
        Some("and not both files are O_NONBLOCK")
    } else if has_option(form, sender, receiver) {
        Some("in spite of a socket option")
    } else {
        None
    }
}

/// Whether one of two ends is not known to be non-blocking, where that matters.
pub(super) fn an_end_blocks(form: Form, sender: &Socket, receiver: &Socket) -> bool {
    form.spares_blocking() && !(receiver.is_accepted() && receiver.is_nonblocking() && sender.is_nonblocking())
}

/// Whether one of two ends has an option that redirected bytes pass by.
pub(super) fn has_option(form: Form, sender: &Socket, receiver: &Socket) -> bool {
    let options = sender.options() & u64::from(OPTIONS.sender) | receiver.options() & u64::from(OPTIONS.receiver);
    form.is_gated() && (options != 0 || receiver.peek_off() >= 0)
}

/// The waiters of a socket that are epoll items, among those that are looked at.
fn registrations(socket: &Socket) -> impl Iterator<Item = (bool, u64, u32)> {
    socket.waiters().iter().take(2).filter_map(|waiter| match *waiter {
        Waiter::Epoll { edge, data, fd } => Some((edge, data, fd)),
        Waiter::Poll => None,
    })
}

/// Whether the reader is notified once for each arrival; not known before accept(2).
pub(super) fn is_edge_triggered(socket: &Socket) -> bool {
    !socket.is_accepted() || registrations(socket).any(|(edge, ..)| edge)
}

/// Whether the reader may ask FIONREAD: it is edge-triggered, and has registered an address. `None` when nothing watches it.
pub(super) fn may_ask(socket: &Socket) -> Option<bool> {
    registrations(socket).next().map(|(edge, data, fd)| edge && data >> 47 == 0 && data != u64::from(fd))
}

/// Memory that `messages` of together `bytes` bytes pin.
pub(super) fn pinned(messages: u32, bytes: u32) -> u32 {
    messages * MESSAGE_MEMORY + bytes
}

/// Memory that redirected messages between two ends may pin: a part of what plain TCP may pin in their buffers, which
/// still grow if no application has set their size. An edge-triggered reader may leave more, where it can be woken.
pub(super) fn may_pin(form: Form, sender: &Socket, receiver: &Socket) -> u32 {
    let (sixteenths, growing) = match is_edge_triggered(receiver) {
        true if !form.wakes() => return u32::MAX,
        true => (12, 640 << 10),
        false => (3, 160 << 10),
    };
    let (sender, receiver) = (sender.buffers(), receiver.buffers());
    let part = (sender.send + receiver.receive) / 16 * sixteenths;
    let fixed = sender.locks & 1 != 0 || receiver.locks & 2 != 0;
    if fixed { part } else { part.max(growing) }
}

/// Redirected bytes that fit beside what the stack may still bring: half of what the offered window and a quarter of it
/// leave of the buffer, or of half the buffer, and at least a 32nd. No bound where the buffer grows, and where readers cannot
/// be woken none for the first message of `len` bytes.
pub(super) fn fits_beside_window(form: Form, receiver: &Socket, len: u32) -> u32 {
    let buffer = i64::from(receiver.buffers().receive);
    let waits = receiver.redirected_waiting().0 > 0;
    let bounds_first = form.wakes() || waits || len > FIRST_BYTES;
    let grows = receiver.buffers().locks & 2 == 0;
    if grows || !bounds_first || (!form.wakes() && is_edge_triggered(receiver)) {
        return u32::MAX;
    }
    let window = i64::from(receiver.offered());
    let left = (buffer - window - window / 4).min(buffer / 2);
    (left.div_euclid(2)).max(buffer / 32) as u32
}
