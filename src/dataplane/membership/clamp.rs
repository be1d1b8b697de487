//! A smaller window for the receiver of a stream that stays, so that its buffer has room for redirected bytes, too.
//!
//! A window that has been offered does not shrink, and redirected bytes count in the buffer (`gate::backpressure`). Where the
//! window takes the whole buffer, they get a 32nd of it. So from the first time on that such a receiver is armed, the window takes
//! a quarter of the buffer at most (TCP_WINDOW_CLAMP). The kernel sets another clamp when the buffer grows, or when packets
//! need more memory than before (`tcp_rcv_space_adjust`, `tcp_measure_rcv_mss`, net/ipv4/tcp_input.c). The next time takes care
//! of that. What there was before comes back in the first callback after the pair has left. One that gets no callback keeps the clamp
//! until the kernel sets another.

use crate::asm::Reg::{R1, R2, R8, R9};
use crate::asm::{Asm, Field, Ptr, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::membership::keepalive;
use crate::dataplane::state::socket::{OWN, Pace, Socket};
use crate::uapi::net;

/// Our own socket, while it is looked at.
const OWN_SK: Ptr<TcpSock> = Ptr::new(R9);
/// The binary logarithm of the window's part of the buffer: a quarter.
const PART_SHIFT: i32 = 2;
/// No smaller window: eight packets of loopback, which have 64 KiB.
const LEAST_WINDOW: i32 = 512 << 10;

const CLAMP: Field<Socket, u32> = Socket::PACE.then(Pace::CLAMP);
const CLAMPED: Field<Socket, u32> = Socket::PACE.then(Pace::CLAMPED);

/// The window takes a part of the buffer. Loses R8 and R9.
pub(in crate::dataplane) fn narrow(a: &mut Asm, offsets: &KernelOffsets) {
    a.emitter("narrow", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9]), |a| {
        a.block("narrow_enough", |a, enough| {
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            offsets.read(a, R8, OWN_SK, offsets.rcvbuf, enough);
            a.rsh(R8, PART_SHIFT);
            a.if_(R8.below(LEAST_WINDOW), |a| a.mov(R8, LEAST_WINDOW));
            keepalive::get(a, net::TCP_WINDOW_CLAMP);
            a.require(R1.above(R8), enough, "the window may take more");
            a.ld(R2, OWN, CLAMPED);
            a.if_(R1.differs(R2), |a| a.st(OWN, CLAMP, R1));
            a.st(OWN, CLAMPED, R8);
            a.frame(|a| {
                let value = keepalive::option_value(a);
                a.set(value, R8);
                keepalive::set(a, net::SOL_TCP, net::TCP_WINDOW_CLAMP, value);
            });
        });
    });
}

/// What was there before comes back, unless another has been set since.
pub(in crate::dataplane) fn give_back(a: &mut Asm) {
    a.emitter("window_back", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R8), |a| {
        a.block("not_clamped", |a, none| {
            a.ld(R8, OWN, CLAMPED);
            a.require(R8.differs(0), none, "the window has our clamp");
            a.st(OWN, CLAMPED, 0);
            keepalive::get(a, net::TCP_WINDOW_CLAMP);
            a.require(R1.equals(R8), none, "it is still ours");
            a.frame(|a| {
                let value = keepalive::option_value(a);
                a.ld(R1, OWN, CLAMP);
                a.set(value, R1);
                keepalive::set(a, net::SOL_TCP, net::TCP_WINDOW_CLAMP, value);
            });
        });
    });
}
