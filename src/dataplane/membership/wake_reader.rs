//! A receiver that nobody tells: bytes of the stack lie unread behind redirected ones.
//!
//! They had their event when they came. A reader that was told once and stops at a short read reads the redirected bytes
//! and waits for another event; one that asks FIONREAD, on kernels where that does not see the stack's bytes in a
//! sockhash, sees nothing. The gate avoids it where it can (`gate::deferral`); what remains (a full queue, a server that
//! blocks, memory pressure) is looked after here, at the receiver, whose callback for each packet it sends
//! (`BPF_SOCK_OPS_HDR_OPT_LEN_CB`) comes with its acknowledgement of the stack's bytes:
//!
//! 1. The pair is to leave, and the receiver is *armed*: TCP keepalive probes its peer every second, so that there is a
//!    callback every second.
//! 2. When the redirected bytes have been read, the pair leaves, and SO_RCVLOWAT is set to what it is, upon which the
//!    kernel tells the reader anew (`tcp_set_rcvlowat`; for programs since Linux 6.1).
//! 3. The socket's own keepalive settings come back.

use crate::asm::Reg::{R1, R2, R3, R4, R5, R6, R7, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::dataplane::emit::{count, set_flags};
use crate::dataplane::kernel::probe::PROBE_SLOT;
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::membership::keepalive;
use crate::dataplane::state::{Counter, socket};
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// Seconds between two looks: the shortest that keepalive has.
const INTERVAL: i32 = 1;

/// In the callback of a packet: goes on when there is something to do, else to `out`, as soon as that is known. R6 is the
/// context; uses R8 and R9.
pub(in crate::dataplane) fn worth_a_look(a: &mut Asm, offsets: &KernelOffsets, out: Label) {
    let look = a.label("worth_a_look");
    offsets.behind(a, R9, R6, Object::SockOps, out);
    offsets.read(a, R9, Size::DW, R9, offsets.ops_sk, out);
    offsets.open(a, R9, Object::Sock);
    a.comment("all is read, and no probes are to be given up");
    a.load(Size::W, R8, R6, sock_ops::RCV_NXT);
    offsets.read(a, R1, Size::W, R9, offsets.copied_seq, out);
    a.jump32(Cond::Ne, R1, R8, look);
    offsets.read(a, R1, Size::DW, R9, offsets.sk_flags, out);
    a.and(R1, net::SOCK_KEEPOPEN);
    a.jump(Cond::Eq, R1, 0, out);
    a.bind(look);
}

/// The socket stays in the sockhash. R6 context, R7 storage; uses R8 and R9, and ends at `out`.
pub(in crate::dataplane) fn watch(a: &mut Asm, offsets: &KernelOffsets, out: Label) {
    let [all_read, waits, armed, unguarded] =
        ["all_read", "redirected_first", "armed_already", "nothing_redirected"].map(|name| a.label(name));
    unread(a, offsets, all_read, out);
    a.load(Size::W, R8, R7, socket::FLAGS);
    psock(a, offsets, R9, R9, unguarded, out);
    queue(a, offsets, R9, out);
    a.jump(Cond::Ne, R1, R9, waits);
    a.bind(unguarded);
    a.and(R8, socket::ARMED);
    a.jump(Cond::Eq, R8, 0, out);
    a.comment("it could not leave just now, or its peer has taken it out, but its reader need not wait");
    wake(a, offsets, out);
    a.goto(out);
    a.bind(waits);
    a.jump(Cond::Set, R8, socket::ARMED, armed);
    arm(a, offsets, out);
    a.bind(armed);
    a.goto(out);
    a.bind(all_read);
    disarm(a);
    a.goto(out);
}

/// The socket has left the sockhash. R6 context, R7 storage; uses R8 and R9.
pub(in crate::dataplane) fn after_unenroll(a: &mut Asm, offsets: &KernelOffsets) {
    let told = a.label("told");
    unread(a, offsets, told, told);
    wake(a, offsets, told);
    a.bind(told);
    disarm(a);
}

/// Goes on when bytes of the stack are unread, else to `none`; R9 is then our own socket. Uses R8.
fn unread(a: &mut Asm, offsets: &KernelOffsets, none: Label, fail: Label) {
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    a.load(Size::W, R8, R6, sock_ops::RCV_NXT);
    offsets.read(a, R1, Size::W, R9, offsets.copied_seq, fail);
    a.jump32(Cond::Eq, R1, R8, none);
}

/// Asks for a callback a second, and for the pair to leave. R8 is our flags, R9 is used.
fn arm(a: &mut Asm, offsets: &KernelOffsets, fail: Label) {
    let off = a.label("no_keepalive_yet");
    count(a, Counter::Armed, 1);
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    for (option, place) in SETTINGS {
        a.mov(R1, R6);
        a.mov(R2, net::SOL_TCP);
        a.mov(R3, option);
        a.mov(R4, FP);
        a.add(R4, i32::from(PROBE_SLOT));
        a.mov(R5, 4);
        a.call(helper::GETSOCKOPT);
        a.load(Size::W, R1, FP, PROBE_SLOT);
        a.store(Size::H, R7, place, R1);
    }
    offsets.read(a, R1, Size::DW, R9, offsets.sk_flags, fail);
    a.and(R1, net::SOCK_KEEPOPEN);
    a.jump(Cond::Eq, R1, 0, off);
    set_flags(a, socket::KEPT_ALIVE);
    a.bind(off);
    set_flags(a, socket::ARMED | socket::UNENROLLING);
    for (option, _) in SETTINGS {
        a.store(Size::W, FP, PROBE_SLOT, INTERVAL);
        keepalive::set(a, net::SOL_TCP, option);
    }
    a.store(Size::W, FP, PROBE_SLOT, 1);
    keepalive::set(a, net::SOL_SOCKET, net::SO_KEEPALIVE);
}

/// Gives the application's settings back, if the socket is armed.
fn disarm(a: &mut Asm) {
    let [unarmed, kept] = ["not_armed", "kept_alive"].map(|name| a.label(name));
    a.load(Size::W, R8, R7, socket::FLAGS);
    a.mov(R1, R8);
    a.and(R1, socket::ARMED);
    a.jump(Cond::Eq, R1, 0, unarmed);
    a.jump(Cond::Set, R8, socket::KEPT_ALIVE, kept);
    a.store(Size::W, FP, PROBE_SLOT, 0);
    keepalive::set(a, net::SOL_SOCKET, net::SO_KEEPALIVE);
    a.bind(kept);
    for (option, place) in SETTINGS {
        a.load(Size::H, R1, R7, place);
        a.store(Size::W, FP, PROBE_SLOT, R1);
        keepalive::set(a, net::SOL_TCP, option);
    }
    a.and(R8, !(socket::ARMED | socket::KEPT_ALIVE));
    a.store(Size::W, R7, socket::FLAGS, R8);
    a.bind(unarmed);
}

/// Keepalive's settings, in seconds of at most 32,767 (`MAX_TCP_KEEPIDLE`), and where they are kept meanwhile.
const SETTINGS: [(i32, i16); 2] = [(net::TCP_KEEPIDLE, socket::KEEPIDLE), (net::TCP_KEEPINTVL, socket::KEEPINTVL)];

/// Tells the reader of our socket (R9) that there is something.
fn wake(a: &mut Asm, offsets: &KernelOffsets, fail: Label) {
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R1, Size::W, R9, offsets.rcvlowat, fail);
    a.store(Size::W, FP, PROBE_SLOT, R1);
    keepalive::set(a, net::SOL_SOCKET, net::SO_RCVLOWAT);
}
