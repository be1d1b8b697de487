//! The record in the rendezvous map by which the two ends of a connection find each other.
//!
//! ```text
//!   0  client: cookie, sk, storage, check      4 x u64
//!  32  server: cookie, sk, storage, check      4 x u64
//!  64  client key, 112 server key              48 bytes each   four-tuple pairing only
//! 160  client's snd_nxt, rcv_nxt               2 x u32         four-tuple pairing only
//! ```

pub(in crate::dataplane) const CLIENT: i16 = 0;
pub(in crate::dataplane) const SERVER: i16 = 32;
pub(in crate::dataplane) const COOKIE: i16 = 0;
pub(in crate::dataplane) const SK: i16 = 8;
pub(in crate::dataplane) const STORAGE: i16 = 16;
pub(in crate::dataplane) const CHECK: i16 = 24;
pub(in crate::dataplane) const BASE_SIZE: i16 = 64;
pub(in crate::dataplane) const CLIENT_KEY: i16 = 64;
pub(in crate::dataplane) const SERVER_KEY: i16 = 112;
pub(in crate::dataplane) const NUMBERS: i16 = 160;
pub(in crate::dataplane) const FULL_SIZE: i16 = 168;
