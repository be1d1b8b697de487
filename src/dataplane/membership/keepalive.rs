//! Keepalive on behalf of connection tracking, which sees no packets of an accelerated connection.
//!
//! Its entry expires (`nf_conntrack_tcp_timeout_established`) however busy the connection is, and a FIN without an entry
//! is not translated: behind REDIRECT neither end would learn that the other has closed. A probe and its answer renew
//! the entry. The passive end probes, since only there is it known that a pair has been made.
//!
//! An application that has asked for keepalive itself keeps its own times where they are short enough. Where programs can
//! read them (Linux 6.1), times that are too long are replaced, also when the application sets them later, and come back when
//! the pair leaves the sockhash. Whether SO_KEEPALIVE was on does not come back: the programs cannot see whether the application has
//! asked for it since. Only an adoption that its agent takes back turns it off again, a few milliseconds later (`programs::adopt`).

use crate::asm::Reg::{R1, R2, R3, R4, R5, R8, R9};
use crate::asm::{Asm, Field, Label, Ptr, Slot, Uses};
use crate::dataplane::emit::{clear_flags, config, set_flags};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{Options, Tier};
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// Our own socket, while it is looked at.
const OWN_SK: Ptr<TcpSock> = Ptr::new(R9);

/// The times that decide how often there are packets, in seconds of at most 32,767 (`MAX_TCP_KEEPIDLE`), and where the
/// application's are kept.
const TIMES: [(i32, Field<Socket, u16>); 2] =
    [(net::TCP_KEEPIDLE, Socket::APP_KEEPIDLE), (net::TCP_KEEPINTVL, Socket::APP_KEEPINTVL)];

fn uses() -> Uses {
    Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9])
}

/// Asks for probes where the configuration does, and the application not as often.
///
/// In the gated tier only: elsewhere the application's wish cannot be seen.
pub(in crate::dataplane) fn renew_tracking(a: &mut Asm, options: &Options) {
    let Tier::Gated(offsets) = &options.tier else { return };
    a.emitter("keepalive", uses(), |a| {
        a.block("keepalive_done", |a, done| {
            config(a, R1, Value::KEEPALIVE);
            a.jump_if(R1.equals(0), done);
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            if options.wakes_readers().is_some() {
                for (option, place) in TIMES {
                    get(a, option);
                    a.st(OWN, place, R1);
                }
                replace(a, offsets, done);
            } else {
                offsets.read(a, R1, OWN_SK, offsets.sk_flags, done);
                a.jump_if(R1.any_of(net::SOCK_KEEPOPEN), done);
                set_wanted(a, net::TCP_KEEPIDLE);
                config(a, R1, Value::KEEPALIVE);
                a.if_(R1.below(net::TCP_KEEPALIVE_INTVL), |a| set_wanted(a, net::TCP_KEEPINTVL));
                turn_on(a);
            }
        });
    });
}

/// In a callback: asks again where the application has set another time since.
pub(in crate::dataplane) fn renew_if_changed(a: &mut Asm, offsets: &KernelOffsets) {
    a.emitter("renew", uses(), |a| {
        a.block("keepalive_unchanged", |a, unchanged| {
            a.ld(R8, OWN, Socket::KEEPALIVE_TIME);
            a.require(R8.differs(0), unchanged, "it probes for us");
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.none_of(socket::ARMED), unchanged, "its times are not those of an armed socket");
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            offsets.read(a, R1, OWN_SK, offsets.keepalive_time, unchanged);
            a.require(R1.differs(R8), unchanged, "its time has changed");
            get(a, net::TCP_KEEPIDLE);
            a.st(OWN, Socket::APP_KEEPIDLE, R1);
            a.comment("an interval that is not ours is the application's");
            get(a, net::TCP_KEEPINTVL);
            a.mov(R8, R1);
            config(a, R1, Value::KEEPALIVE);
            a.guard(R8.differs(R1), "its interval has changed, too", |a| a.st(OWN, Socket::APP_KEEPINTVL, R8));
            replace(a, offsets, unchanged);
        });
    });
}

/// Sets the times of our socket that are longer than the configuration's, and notes how the kernel keeps the first. The
/// application's have been noted.
fn replace(a: &mut Asm, offsets: &KernelOffsets, fail: Label) {
    a.emitter("times", uses().reads(OWN_SK.reg()), |a| {
        let [long_idle, idle_set, quick] = ["too_long_idle", "idle_set", "quick_enough"].map(|name| a.label(name));
        offsets.read(a, R8, OWN_SK, offsets.sk_flags, fail);
        a.and(R8, net::SOCK_KEEPOPEN);
        clear_flags(a, socket::KEEPALIVE_WAS_OFF);
        a.if_(R8.equals(0), |a| set_flags(a, socket::KEEPALIVE_WAS_OFF));
        a.require(R8.differs(0), long_idle, "the application probes");
        config(a, R1, Value::KEEPALIVE);
        a.ld(R2, OWN, Socket::APP_KEEPIDLE);
        a.require(R2.at_most(R1), long_idle, "soon enough");
        a.ld(R2, OWN, Socket::APP_KEEPINTVL);
        a.permit(R2.at_most(R1), quick, "and often enough");
        a.goto(idle_set);
        a.bind(long_idle);
        set_wanted(a, net::TCP_KEEPIDLE);
        a.bind(idle_set);
        a.comment("after a probe the kernel looks again when the interval is over, which must not be longer");
        config(a, R1, Value::KEEPALIVE);
        a.ld(R2, OWN, Socket::APP_KEEPINTVL);
        a.guard(R2.above(R1), "a long interval is replaced", |a| set_wanted(a, net::TCP_KEEPINTVL));
        turn_on(a);
        set_flags(a, socket::KEEPALIVE_OURS);
        a.bind(quick);
        offsets.read(a, R1, OWN_SK, offsets.keepalive_time, fail);
        a.st(OWN, Socket::KEEPALIVE_TIME, R1);
    });
}

/// Gives the application's times back, where they are still what we have set.
pub(in crate::dataplane) fn give_back(a: &mut Asm) {
    a.emitter("give_back", uses(), |a| {
        a.block("not_ours", |a, none| {
            a.ld(R1, OWN, Head::FLAGS);
            a.and(R1, socket::KEEPALIVE_OURS);
            a.require(R1.differs(0), none, "we have set its times");
            for (option, place) in TIMES {
                get(a, option);
                a.mov(R8, R1);
                config(a, R1, Value::KEEPALIVE);
                a.guard(R8.equals(R1), "what the application has set since stays", |a| {
                    let value = option_value(a);
                    a.ld(R1, OWN, place);
                    a.set(value, R1);
                    set(a, net::SOL_TCP, option, value);
                });
            }
        });
    });
}

/// Turns keepalive off, where we have turned it on and the application has set no time since; else goes to `stays`.
pub(in crate::dataplane) fn turn_off_again(a: &mut Asm, offsets: &KernelOffsets, stays: Label) {
    a.emitter("turn_off", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R9), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.comment("then we have turned it on");
        a.require(R1.any_of(socket::KEEPALIVE_WAS_OFF), stays, "keepalive was off");
        a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, OWN_SK);
        offsets.read(a, R1, OWN_SK, offsets.keepalive_time, stays);
        a.ld(R2, OWN, Socket::KEEPALIVE_TIME);
        a.require(R1.equals(R2), stays, "its time is still ours");
        let value = option_value(a);
        a.set(value, 0);
        set(a, net::SOL_SOCKET, net::SO_KEEPALIVE, value);
    });
}

/// In the gate: goes on unless the socket `sk`, whose storage is `storage` (both opened), probes for us and has been given
/// another time since.
pub(in crate::dataplane) fn require_ours(
    a: &mut Asm,
    offsets: &KernelOffsets,
    storage: Ptr<Socket>,
    sk: Ptr<TcpSock>,
    label: &'static str,
    [changed, stale]: [Label; 2],
) {
    a.emitter("ours", Uses::scratch().reads([storage.reg(), sk.reg()]), |a| {
        a.block(label, |a, none| {
            a.ld(R1, storage, Socket::KEEPALIVE_TIME);
            a.permit(R1.equals(0), none, "it does not probe for us");
            offsets.read(a, R1, sk, offsets.keepalive_time, stale);
            a.ld(R2, storage, Socket::KEEPALIVE_TIME);
            a.require(R1.equals(R2), changed, "its time is still ours");
        });
    });
}

/// Sets one of the times to the configuration's.
fn set_wanted(a: &mut Asm, option: i32) {
    a.idiom("wanted", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        a.frame(|a| {
            let value = option_value(a);
            config(a, R1, Value::KEEPALIVE);
            a.set(value, R1);
            set(a, net::SOL_TCP, option, value);
        });
    });
}

/// Sets SO_KEEPALIVE.
fn turn_on(a: &mut Asm) {
    a.idiom("probes_on", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        a.frame(|a| {
            let value = option_value(a);
            a.set(value, 1);
            set(a, net::SOL_SOCKET, net::SO_KEEPALIVE, value);
        });
    });
}

/// R1 = `getsockopt` of one of TCP's options.
#[track_caller]
pub(in crate::dataplane) fn get(a: &mut Asm, option: i32) {
    a.idiom("getsockopt", Uses::scratch().reads(SOCK_OPS.reg()).gives(R1), |a| {
        a.frame(|a| {
            let value = option_value(a);
            a.mov(R1, SOCK_OPS.reg());
            a.mov(R2, net::SOL_TCP);
            a.mov(R3, option);
            a.addr(R4, value);
            a.mov(R5, 4);
            a.call(helper::GETSOCKOPT);
            a.get(R1, value);
        });
    });
}

/// A stack place for the value of a socket option, until the frame ends in which this is called.
#[track_caller]
pub(in crate::dataplane) fn option_value(a: &mut Asm) -> Slot<u32> {
    a.slot::<u32>("option")
}

/// `setsockopt` with `value`. What the kernel refuses stays as it was.
#[track_caller]
pub(in crate::dataplane) fn set(a: &mut Asm, level: i32, option: i32, value: Slot<u32>) {
    a.idiom("setsockopt", Uses::scratch().reads(SOCK_OPS.reg()), |a| {
        a.mov(R1, SOCK_OPS.reg());
        a.mov(R2, level);
        a.mov(R3, option);
        a.addr(R4, value);
        a.mov(R5, 4);
        a.call(helper::SETSOCKOPT);
    });
}
