//! Keepalive on behalf of connection tracking, which sees no packets of an accelerated connection.
//!
//! Its entry expires (`nf_conntrack_tcp_timeout_established`) however busy the connection is, and a FIN without an entry
//! is not translated: behind REDIRECT neither end would learn that the other has closed. A probe and its answer renew
//! the entry. The passive end probes, since only there is it known that a pair has been made, and only if the
//! application has not asked for keepalive itself.

use crate::asm::Reg::{R1, R2, R3, R4, R5, R6, R7, R9};
use crate::asm::{Asm, Cond, FP, Size};
use crate::dataplane::kernel::Object;
use crate::dataplane::kernel::probe::PROBE_SLOT;
use crate::dataplane::options::{Options, Tier};
use crate::dataplane::state::{Config, MapRole, socket};
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// Asks for probes where the configuration does and the application does not. R6 context, R7 storage; uses R9.
///
/// In the gated tier only: elsewhere the application's wish cannot be seen.
pub(in crate::dataplane) fn renew_tracking(a: &mut Asm, options: &Options) {
    let Tier::Gated(offsets) = &options.tier else { return };
    let [done, long] = ["keepalive_done", "long_enough"].map(|name| a.label(name));
    let seconds = |a: &mut Asm| {
        a.load_map_value(R1, MapRole::Config.map_ref(), Config::KEEPALIVE as u32);
        a.load(Size::W, R1, R1, 0);
    };
    seconds(a);
    a.jump(Cond::Eq, R1, 0, done);
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R1, Size::DW, R9, offsets.sk_flags, done);
    a.jump(Cond::Set, R1, net::SOCK_KEEPOPEN, done);
    seconds(a);
    a.store(Size::W, FP, PROBE_SLOT, R1);
    set(a, net::SOL_TCP, net::TCP_KEEPIDLE);
    a.comment("after a probe the kernel looks again when the interval is over, which must not be longer");
    a.load(Size::W, R1, FP, PROBE_SLOT);
    a.jump(Cond::Ge, R1, net::TCP_KEEPALIVE_INTVL, long);
    set(a, net::SOL_TCP, net::TCP_KEEPINTVL);
    a.bind(long);
    a.store(Size::W, FP, PROBE_SLOT, 1);
    set(a, net::SOL_SOCKET, net::SO_KEEPALIVE);
    a.bind(done);
}

/// `setsockopt` with the word at [`PROBE_SLOT`]. What the kernel refuses stays as it was.
#[track_caller]
pub(in crate::dataplane) fn set(a: &mut Asm, level: i32, option: i32) {
    a.mov(R1, R6);
    a.mov(R2, level);
    a.mov(R3, option);
    a.mov(R4, FP);
    a.add(R4, i32::from(PROBE_SLOT));
    a.mov(R5, 4);
    a.call(helper::SETSOCKOPT);
}
