//! The window that the packets without data of an armed receiver must not offer.
//!
//! A receiver whose window is closed opens it when its reader reads: the kernel then sends an acknowledgement
//! (`tcp_cleanup_rbuf`), unless less than half of the window would be new. But a keepalive probe offers a window as well, and the
//! sender discards it unread, since the probe's sequence number is old. A probe that is sent when the redirected bytes have been read
//! and those of the stack have not offers almost all of the window. So nothing tells the sender later, and it goes on to ask less
//! and less often. From Linux 6.15 on it asks every second instead (`membership::wake_reader`).
//!
//! Before, such a packet offers nothing while the window is closed: the receive buffer is small between the callback in which a packet's
//! options are measured and the one in which they are written (`BPF_SOCK_OPS_WRITE_HDR_OPT_CB`). The kernel chooses the window
//! between the two (`__tcp_transmit_skb`, net/ipv4/tcp_output.c). Nothing else can happen meanwhile, since the socket is locked.
//! Four bytes are reserved for an option, so that there is a second callback. The kernel fills them with no-operations.
//!
//! The second callback does not come when another sock_ops program of the cgroup returns 0 in the first one. Then the buffer gets its
//! size back in the next callback of any kind. Until then the socket stays armed, also when its pair has left, so that there is one
//! within a second.
//!
//! A buffer whose size the application has set needs this as much. After packets that found no room, the kernel's own bound on the
//! window (`rcv_ssthresh`) is so low that the probe may offer more than half of it, although few bytes were redirected.
//!
//! What remains is that the size of a buffer that no application has sized is fixed, as if one had (`SOCK_RCVBUF_LOCK`), and at most
//! twice `net.core.rmem_max`. A size that an application has set comes back as it was: this is done only where any setsockopt(2)
//! could set it, or where it is the size that we have fixed. The exception is a `net.core.rmem_max` that is or was below its default:
//! then twice that limit comes back instead of a larger size. And only a packet without data does this, which an armed receiver sends
//! while its window is closed.
//!
//! Meanwhile the buffer can be as small as the kernel lets it be (`SOCK_MIN_RCVBUF`, 2,304 bytes on x86), and getsockopt(2) can read
//! that size, since it does not take the socket's lock (`sk_getsockopt`, net/core/sock.c).

use crate::asm::Reg::{self, R0, R1, R2, R3, R8, R9};
use crate::asm::{Asm, Ptr, Uses};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::{KernelOffsets, RCVBUF_LOCK};
use crate::dataplane::membership::keepalive;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// Our own socket, while it is looked at.
const OWN_SK: Ptr<TcpSock> = Ptr::new(R9);
/// The shortest option: its kind and its length, rounded up to four bytes.
const OPTION_BYTES: i32 = 4;
/// SO_RCVBUF meanwhile, 16 KiB at least: a window of that size is less than half of the first one (64 KiB), so that the kernel announces
/// what is new. Only for buffers whose windows are so large, with half of the buffer for the window. A smaller buffer has no least size:
/// the kernel's own bound on its window falls to two segments (`tcp_clamp_window`, net/ipv4/tcp_input.c), and a window of more than half
/// of that would keep the reader waiting.
const LEAST_BUFFER: i32 = 16 << 10;
const LARGE_BUFFER: i32 = 128 << 10;
/// The largest buffer, as the kernel counts it, that setsockopt(2) sets with the kernel's own `net.core.rmem_max` (`SK_RMEM_MAX`,
/// include/net/sock.h). An application that has a larger one may have set it with SO_RCVBUFFORCE, which programs cannot.
const RESTORABLE: i32 = 2 * 212_992;

/// In the callback that measures a packet: the packet of an armed receiver offers no window when the window is closed. Loses R8 and R9.
pub(in crate::dataplane) fn keep_closed(a: &mut Asm, offsets: &KernelOffsets) {
    let Some(locks) = offsets.buffer_locks else { return };
    a.emitter("keep_closed", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9]), |a| {
        a.block("window_as_it_is", |a, as_it_is| {
            a.ld(R8, OWN, Head::FLAGS);
            a.require(R8.any_of(socket::ARMED), as_it_is, "its probes are ours");
            a.ld(R1, OWN, Socket::RTO_MAX);
            a.require(R1.equals(0), as_it_is, "its sender cannot be made to ask every second");
            a.comment("the kernel asks for the length of options without a packet, too (`tcp_current_mss`)");
            a.ld(R1, SOCK_OPS, SockOps::SKB_TCP_FLAGS);
            a.require(R1.differs(0), as_it_is, "a packet is made");
            a.comment("data is cut into packets before this, without room for our option");
            a.ld(R1, SOCK_OPS, SockOps::SKB_LEN);
            a.require(R1.equals(0), as_it_is, "it carries no data");
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            a.comment("rcv_wup + rcv_wnd");
            offsets.read(a, R8, OWN_SK, offsets.rcv_wup, as_it_is);
            offsets.read(a, R1, OWN_SK, offsets.rcv_wnd, as_it_is);
            a.add32(R8, R1);
            a.ld(R1, SOCK_OPS, SockOps::RCV_NXT);
            a.require(R1.w().equals(R8), as_it_is, "the window is closed");
            a.comment("half of what is unread: the kernel doubles it, and a byte takes more than one of memory");
            offsets.read(a, R1, OWN_SK, offsets.copied_seq, as_it_is);
            a.sub32(R8, R1);
            a.rsh(R8, 1);
            offsets.read(a, R1, OWN_SK, offsets.rcvbuf, as_it_is);
            a.if_(R1.at_least(LARGE_BUFFER), |a| a.if_(R8.below(LEAST_BUFFER), |a| a.mov(R8, LEAST_BUFFER)));
            a.block("comes_back", |a, comes_back| {
                a.permit(R1.at_most(RESTORABLE), comes_back, "any setsockopt can set this size");
                a.ld(R2, OWN, Socket::BUFFER);
                a.permit(R1.equals(R2), comes_back, "it is the size that we have fixed");
                offsets.read(a, R1, OWN_SK, locks.byte, as_it_is);
                a.and(R1, RCVBUF_LOCK << locks.shift);
                a.require(R1.equals(0), as_it_is, "the buffer grows");
            });
            a.mov(R1, SOCK_OPS.reg());
            a.mov(R2, OPTION_BYTES);
            a.mov(R3, 0);
            a.call(helper::RESERVE_HDR_OPT);
            a.require(R0.equals(0), as_it_is, "there is room for an option");
            offsets.read(a, R1, OWN_SK, offsets.rcvbuf, as_it_is);
            a.st(OWN, Socket::BUFFER, R1);
            set_size(a, R8);
            a.comment("by which a size that the application sets meanwhile is told from ours");
            offsets.read(a, R1, OWN_SK, offsets.rcvbuf, as_it_is);
            a.st(OWN, Socket::SMALL_BUFFER, R1);
        });
    });
}

/// The buffer, if it is small, gets back the size that it had. Loses R9.
pub(in crate::dataplane) fn put_back(a: &mut Asm, offsets: &KernelOffsets) {
    if offsets.buffer_locks.is_none() {
        return;
    }
    a.emitter("put_back", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R9), |a| {
        a.block("as_large_as_it_was", |a, done| {
            a.ld(R1, OWN, Socket::SMALL_BUFFER);
            a.require(R1.differs(0), done, "its buffer is small");
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            offsets.read(a, R1, OWN_SK, offsets.rcvbuf, done);
            a.ld(R2, OWN, Socket::SMALL_BUFFER);
            a.require(R1.equals(R2), done, "what the application has set since stays");
            a.ld(R1, OWN, Socket::BUFFER);
            a.require(R1.differs(0), done, "it had a size");
            a.comment("the kernel doubles it");
            a.rsh(R1, 1);
            set_size(a, R1);
            a.comment("by which a size that the application sets later is told from ours");
            offsets.read(a, R1, OWN_SK, offsets.rcvbuf, done);
            a.st(OWN, Socket::BUFFER, R1);
        });
    });
}

/// Sets SO_RCVBUF.
fn set_size(a: &mut Asm, size: Reg) {
    a.idiom("set_size", Uses::scratch().reads([SOCK_OPS.reg(), size]), |a| {
        a.frame(|a| {
            let value = keepalive::option_value(a);
            a.set(value, size);
            keepalive::set(a, net::SOL_SOCKET, net::SO_RCVBUF, value);
        });
    });
}
