//! Keepalive on behalf of connection tracking, which sees no packets of an accelerated connection.
//!
//! Its entry expires (`nf_conntrack_tcp_timeout_established`) however busy the connection is, and a FIN without an entry
//! is not translated: behind REDIRECT neither end would learn that the other has closed. A probe and its answer renew
//! the entry. The passive end probes, since only there is it known that a pair has been made, and only if the
//! application has not asked for keepalive itself.

use crate::asm::Reg::{R1, R2, R3, R4, R5, R9};
use crate::asm::{Asm, Base, Place, Ptr, Uses};
use crate::dataplane::emit::config;
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{Options, Tier};
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{OWN, Socket};
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// Asks for probes where the configuration does and the application does not.
///
/// In the gated tier only: elsewhere the application's wish cannot be seen.
pub(in crate::dataplane) fn renew_tracking(a: &mut Asm, options: &Options) {
    let Tier::Gated(offsets) = &options.tier else { return };
    a.emitter("keepalive", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R9), |a| {
        a.block("keepalive_done", |a, done| {
            config(a, R1, Value::KEEPALIVE);
            a.jump_if(R1.equals(0), done);
            let own = Ptr::<TcpSock>::new(R9);
            a.ld(own.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, own);
            offsets.read(a, R1, own, offsets.sk_flags, done);
            a.jump_if(R1.any_of(net::SOCK_KEEPOPEN), done);
            config(a, R1, Value::KEEPALIVE);
            let value = option_value(a);
            a.set(value, R1);
            set(a, net::SOL_TCP, net::TCP_KEEPIDLE, value);
            a.comment("after a probe the kernel looks again when the interval is over, which must not be longer");
            a.get(R1, value);
            a.if_(R1.below(net::TCP_KEEPALIVE_INTVL), |a| {
                set(a, net::SOL_TCP, net::TCP_KEEPINTVL, value);
            });
            a.set(value, 1);
            set(a, net::SOL_SOCKET, net::SO_KEEPALIVE, value);
        });
    });
}

/// A stack place for the value of a socket option, until the frame ends in which this is called.
#[track_caller]
pub(in crate::dataplane) fn option_value(a: &mut Asm) -> Place<u32> {
    a.slot::<[u64; 3]>("option").cast()
}

/// `setsockopt` with `value`. What the kernel refuses stays as it was.
#[track_caller]
pub(in crate::dataplane) fn set(a: &mut Asm, level: i32, option: i32, value: Place<u32>) {
    a.idiom("setsockopt", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        a.mov(R1, SOCK_OPS.reg());
        a.mov(R2, level);
        a.mov(R3, option);
        a.addr(R4, value);
        a.mov(R5, 4);
        a.call(helper::SETSOCKOPT);
    });
}
