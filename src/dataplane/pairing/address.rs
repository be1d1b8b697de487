//! The 4-tuple as a key. IPv4 stands as IPv4-mapped IPv6, so that both families and mapped sockets compare.

use crate::asm::Reg::{self, R0, R1};
use crate::asm::{Asm, Base, Uses};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::state::socket::{Address, FourTuple, OWN, Socket};
use crate::uapi::helper::id as helper;
use crate::uapi::net::AF_INET6;

/// Which end of the connection an address belongs to.
#[derive(Clone, Copy)]
pub(in crate::dataplane) enum End {
    Local,
    Remote,
}

/// Writes the address of `end`.
#[track_caller]
pub(in crate::dataplane) fn store_address<B: Base<Object = Address>>(a: &mut Asm, end: End, to: B) {
    let (ip4, ip6) = match end {
        End::Local => (SockOps::LOCAL_IP4, SockOps::LOCAL_IP6),
        End::Remote => (SockOps::REMOTE_IP4, SockOps::REMOTE_IP6),
    };
    a.idiom("address", Uses::nothing().reads(SOCK_OPS.regs() | to.regs()).writes(R1), |a| {
        a.ld(R1, SOCK_OPS, SockOps::FAMILY);
        let mapped = |a: &mut Asm| {
            // ::ffff:0:0/96, RFC 4291 section 2.5.5.2
            a.st(to, Address::FIRST, 0);
            a.mov(R1, 0xffff);
            a.to_be(R1, 32);
            a.st(to, Address::THIRD, R1);
            a.ld(R1, SOCK_OPS, ip4);
            a.st(to, Address::IP4, R1);
        };
        let whole = |a: &mut Asm| {
            for (source, target) in ip6.items().zip(Address::WORDS.items()) {
                a.ld(R1, SOCK_OPS, source);
                a.st(to, target, R1);
            }
        };
        a.if_else(R1.differs(AF_INET6), mapped, whole);
    });
}

/// `dst` = the port of `end` in host byte order.
#[track_caller]
pub(in crate::dataplane) fn load_port(a: &mut Asm, dst: Reg, end: End) {
    a.idiom("port", Uses::nothing().reads(SOCK_OPS.reg()).gives(dst), |a| match end {
        End::Local => a.ld(dst, SOCK_OPS, SockOps::LOCAL_PORT),
        End::Remote => {
            a.ld(dst, SOCK_OPS, SockOps::REMOTE_PORT);
            a.to_be(dst, 32);
        }
    });
}

/// R0 = the cookie of the socket's network namespace.
#[track_caller]
pub(in crate::dataplane) fn netns_cookie(a: &mut Asm) {
    a.idiom("netns", Uses::scratch().reads(SOCK_OPS.reg()).gives(R0), |a| {
        a.mov(R1, SOCK_OPS.reg());
        a.call(helper::GET_NETNS_COOKIE);
    });
}

/// Writes the socket's own key into its storage. Two sockets of one host never share it while both live: a
/// namespace has a 4-tuple once.
#[track_caller]
pub(in crate::dataplane) fn own_key(a: &mut Asm) {
    let key = OWN.at(Socket::OWN_KEY);
    a.emitter("own_key", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]), |a| {
        netns_cookie(a);
        a.st(key, FourTuple::NETNS, R0);
        store_address(a, End::Local, key.at(FourTuple::LOCAL));
        store_address(a, End::Remote, key.at(FourTuple::REMOTE));
        load_port(a, R1, End::Local);
        a.st(key, FourTuple::LOCAL_PORT, R1);
        load_port(a, R1, End::Remote);
        a.st(key, FourTuple::REMOTE_PORT, R1);
    });
}
