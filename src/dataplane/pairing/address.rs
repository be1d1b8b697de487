//! The 4-tuple as a key. IPv4 stands as IPv4-mapped IPv6, so that both families and mapped sockets compare.
//!
//! ```text
//!  0  network namespace cookie  u64
//!  8  local address 16 bytes   24  remote address 16 bytes     network byte order
//! 40  local port u32           44  remote port u32             host byte order
//! ```

use crate::asm::Reg::{self, R0, R1, R6, R7};
use crate::asm::{Asm, Cond, Size};
use crate::dataplane::options::Pairing;
use crate::dataplane::state::socket;
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;
use crate::uapi::net::AF_INET6;

pub(in crate::dataplane) const LOCAL: i16 = 8;
pub(in crate::dataplane) const REMOTE: i16 = 24;
pub(in crate::dataplane) const PORTS: i16 = 40;

/// Which end of the connection an address belongs to.
#[derive(Clone, Copy)]
pub(in crate::dataplane) enum End {
    Local,
    Remote,
}

/// Writes the 16 address bytes of `end` to `base + offset`. Keeps R6 to R9.
#[track_caller]
pub(in crate::dataplane) fn store_address(a: &mut Asm, end: End, base: Reg, offset: i16) {
    let (ip4, ip6) = match end {
        End::Local => (sock_ops::LOCAL_IP4, sock_ops::LOCAL_IP6),
        End::Remote => (sock_ops::REMOTE_IP4, sock_ops::REMOTE_IP6),
    };
    let (v6, done) = (a.label("ipv6"), a.label("address_done"));
    a.load(Size::W, R1, R6, sock_ops::FAMILY);
    a.jump(Cond::Eq, R1, AF_INET6, v6);
    // ::ffff:0:0/96, RFC 4291 section 2.5.5.2
    a.store(Size::DW, base, offset, 0);
    a.mov(R1, 0xffff);
    a.to_be(R1, 32);
    a.store(Size::W, base, offset + 8, R1);
    a.load(Size::W, R1, R6, ip4);
    a.store(Size::W, base, offset + 12, R1);
    a.goto(done);
    a.bind(v6);
    for word in 0..4 {
        a.load(Size::W, R1, R6, ip6 + 4 * word);
        a.store(Size::W, base, offset + 4 * word, R1);
    }
    a.bind(done);
}

/// `dst` = the port of `end` in host byte order.
#[track_caller]
pub(in crate::dataplane) fn load_port(a: &mut Asm, dst: Reg, end: End) {
    match end {
        End::Local => a.load(Size::W, dst, R6, sock_ops::LOCAL_PORT),
        End::Remote => {
            a.load(Size::W, dst, R6, sock_ops::REMOTE_PORT);
            a.to_be(dst, 32);
        }
    };
}

/// R0 = the cookie of the socket's network namespace.
#[track_caller]
pub(in crate::dataplane) fn netns_cookie(a: &mut Asm) {
    a.mov(R1, R6);
    a.call(helper::GET_NETNS_COOKIE);
}

/// Writes the socket's own key into its storage (R7). Two sockets of one host never share it while both live: a
/// namespace has a 4-tuple once.
#[track_caller]
pub(in crate::dataplane) fn own_key(a: &mut Asm) {
    let key = socket::own_key(Pairing::FourTuple);
    netns_cookie(a);
    a.store(Size::DW, R7, key, R0);
    store_address(a, End::Local, R7, key + LOCAL);
    store_address(a, End::Remote, R7, key + REMOTE);
    load_port(a, R1, End::Local);
    a.store(Size::W, R7, key + PORTS, R1);
    load_port(a, R1, End::Remote);
    a.store(Size::W, R7, key + PORTS + 4, R1);
}
