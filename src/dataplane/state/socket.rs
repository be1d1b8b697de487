//! One socket's own state, in `BPF_MAP_TYPE_SK_STORAGE`: freed with the socket.
//!
//! ```text
//!   0  own_cookie   u64   8  state        u32  12  flags       u32  16  sent  u32    the head, which the peer reads
//!  20  run          u32
//!  24  peer_cookie  u64  32  peer_storage u64  40  peer_sk     u64
//!  48  own_sk       u64  56  own_storage  u64
//!  64  last_seq     u32  68  burst_msgs   u32  72  burst_bytes u64
//!  80  peer_sent    u32  84  keepidle     u16  86  keepintvl   u16
//!  88  rendezvous key (8 or 32 bytes)
//! 120  own map key  (48 bytes, four-tuple pairing only)   168  peer map key (48 bytes, four-tuple pairing only)
//! ```

use crate::dataplane::options::Pairing;

pub(in crate::dataplane) const OWN_COOKIE: i16 = 0;
pub(in crate::dataplane) const STATE: i16 = 8;
pub(in crate::dataplane) const FLAGS: i16 = 12;
/// Messages this end has sent, whichever way they went; it wraps.
pub(in crate::dataplane) const SENT: i16 = 16;
/// Messages this end has sent in a row since the peer's last one.
pub(in crate::dataplane) const RUN: i16 = 20;
/// Bytes up to here are read by the peer.
pub(in crate::dataplane) const HEAD_SIZE: i16 = 24;
pub(in crate::dataplane) const PEER_COOKIE: i16 = 24;
pub(in crate::dataplane) const PEER_STORAGE: i16 = 32;
pub(in crate::dataplane) const PEER_SK: i16 = 40;
pub(in crate::dataplane) const OWN_SK: i16 = 48;
pub(in crate::dataplane) const OWN_STORAGE: i16 = 56;
/// `write_seq` when the stack was last known to be read empty and quiet.
pub(in crate::dataplane) const LAST_SEQ: i16 = 64;
/// Messages redirected since the peer's queue was last seen empty.
pub(in crate::dataplane) const BURST_MESSAGES: i16 = 68;
/// Bytes redirected since the peer's queue was last seen empty; in the sticky tier, since the connection began.
pub(in crate::dataplane) const BURST_BYTES: i16 = 72;
/// The peer's [`SENT`] when we last looked.
pub(in crate::dataplane) const PEER_SENT: i16 = 80;
/// What the application has set, while we have our own.
pub(in crate::dataplane) const KEEPIDLE: i16 = 84;
pub(in crate::dataplane) const KEEPINTVL: i16 = 86;
pub(in crate::dataplane) const RENDEZVOUS_KEY: i16 = 88;
const OWN_KEY: i16 = 120;
const PEER_KEY: i16 = 168;

/// Where a socket keeps the key of its own sockhash entry.
pub(in crate::dataplane) const fn own_key(pairing: Pairing) -> i16 {
    match pairing {
        Pairing::Sequence => OWN_COOKIE,
        Pairing::FourTuple => OWN_KEY,
    }
}

/// Where a socket keeps the key of its peer's sockhash entry.
pub(in crate::dataplane) const fn peer_key(pairing: Pairing) -> i16 {
    match pairing {
        Pairing::Sequence => PEER_COOKIE,
        Pairing::FourTuple => PEER_KEY,
    }
}

/// Size of the map's value in bytes.
pub(in crate::dataplane) const fn size(pairing: Pairing) -> u32 {
    match pairing {
        Pairing::Sequence => 96,
        Pairing::FourTuple => 216,
    }
}

/// [`STATE`]: in the sockhash, waiting to be claimed.
pub(in crate::dataplane) const WAITING: i32 = 1;
/// [`STATE`]: knows its peer.
pub(in crate::dataplane) const PAIRED: i32 = 2;
/// [`STATE`]: out of the sockhash for good.
pub(in crate::dataplane) const PLAIN: i32 = 3;
/// [`STATE`]: its cgroup has opted out.
pub(in crate::dataplane) const OPTED_OUT: i32 = 4;

/// [`FLAGS`]: neither end may redirect any more.
pub(in crate::dataplane) const UNENROLLING: i32 = 1 << 0;
/// [`FLAGS`]: [`LAST_SEQ`] is valid.
pub(in crate::dataplane) const QUIET: i32 = 1 << 1;
/// [`FLAGS`]: what is looked at only once, at both ends, lets them be served.
pub(in crate::dataplane) const ENDS_OK: i32 = 1 << 2;
/// [`FLAGS`]: a message of ours has taken the stack (sticky rule).
pub(in crate::dataplane) const PASSED: i32 = 1 << 3;
/// [`FLAGS`]: no message of ours is between its verdict and the peer's queue.
pub(in crate::dataplane) const NONE_IN_FLIGHT: i32 = 1 << 4;
/// [`FLAGS`]: what this end sends takes the stack (policy).
pub(in crate::dataplane) const BY_STACK: i32 = 1 << 5;
/// [`FLAGS`]: keepalive has our settings, so that there are callbacks (`membership::wake_reader`).
pub(in crate::dataplane) const ARMED: i32 = 1 << 6;
/// [`FLAGS`]: it was on before.
pub(in crate::dataplane) const KEPT_ALIVE: i32 = 1 << 7;
/// [`FLAGS`]: from this bit on, the callbacks that somebody else had asked for before us.
pub(in crate::dataplane) const FOREIGN_SHIFT: i32 = 8;
