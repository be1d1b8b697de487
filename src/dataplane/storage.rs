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

use super::pairing::Pairing;

pub(super) const OWN_COOKIE: i16 = 0;
pub(super) const STATE: i16 = 8;
pub(super) const FLAGS: i16 = 12;
/// Messages this end has sent, whichever way they went; it wraps.
pub(super) const SENT: i16 = 16;
/// Messages this end has sent in a row since the peer's last one.
pub(super) const RUN: i16 = 20;
/// Bytes up to here are read by the peer.
pub(super) const HEAD_SIZE: i16 = 24;
pub(super) const PEER_COOKIE: i16 = 24;
pub(super) const PEER_STORAGE: i16 = 32;
pub(super) const PEER_SK: i16 = 40;
pub(super) const OWN_SK: i16 = 48;
pub(super) const OWN_STORAGE: i16 = 56;
/// `write_seq` when the stack was last known to be read empty and quiet.
pub(super) const LAST_SEQ: i16 = 64;
/// Messages redirected since the peer's queue was last seen empty.
pub(super) const BURST_MESSAGES: i16 = 68;
/// Bytes redirected since the peer's queue was last seen empty; in the sticky tier, since the connection began.
pub(super) const BURST_BYTES: i16 = 72;
/// The peer's [`SENT`] when we last looked.
pub(super) const PEER_SENT: i16 = 80;
/// What the application has set, while we have our own.
pub(super) const KEEPIDLE: i16 = 84;
pub(super) const KEEPINTVL: i16 = 86;
pub(super) const RENDEZVOUS_KEY: i16 = 88;
const OWN_KEY: i16 = 120;
const PEER_KEY: i16 = 168;

/// Where a socket keeps the key of its own sockhash entry.
pub(super) const fn own_key(pairing: Pairing) -> i16 {
    match pairing {
        Pairing::Sequence => OWN_COOKIE,
        Pairing::FourTuple => OWN_KEY,
    }
}

/// Where a socket keeps the key of its peer's sockhash entry.
pub(super) const fn peer_key(pairing: Pairing) -> i16 {
    match pairing {
        Pairing::Sequence => PEER_COOKIE,
        Pairing::FourTuple => PEER_KEY,
    }
}

/// Size of the map's value in bytes.
pub(super) const fn size(pairing: Pairing) -> u32 {
    match pairing {
        Pairing::Sequence => 96,
        Pairing::FourTuple => 216,
    }
}

/// [`STATE`]: in the sockhash, waiting to be claimed.
pub(super) const WAITING: i32 = 1;
/// [`STATE`]: knows its peer.
pub(super) const PAIRED: i32 = 2;
/// [`STATE`]: out of the sockhash for good.
pub(super) const PLAIN: i32 = 3;
/// [`STATE`]: its cgroup has opted out.
pub(super) const OPTED_OUT: i32 = 4;

/// [`FLAGS`]: neither end may redirect any more.
pub(super) const LEAVING: i32 = 1 << 0;
/// [`FLAGS`]: [`LAST_SEQ`] is valid.
pub(super) const QUIET: i32 = 1 << 1;
/// [`FLAGS`]: what is looked at only once, at both ends, lets them be served.
pub(super) const ENDS_OK: i32 = 1 << 2;
/// [`FLAGS`]: a message of ours has taken the stack (sticky rule).
pub(super) const PASSED: i32 = 1 << 3;
/// [`FLAGS`]: no message of ours is between its verdict and the peer's queue.
pub(super) const SETTLED: i32 = 1 << 4;
/// [`FLAGS`]: what this end sends takes the stack (policy).
pub(super) const BY_STACK: i32 = 1 << 5;
/// [`FLAGS`]: keepalive has our settings, so that there are callbacks ([`super::nudge`]).
pub(super) const ARMED: i32 = 1 << 6;
/// [`FLAGS`]: it was on before.
pub(super) const KEPT_ALIVE: i32 = 1 << 7;
/// [`FLAGS`]: from this bit on, the callbacks that somebody else had asked for before us.
pub(super) const FOREIGN_SHIFT: i32 = 8;
