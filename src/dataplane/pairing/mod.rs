//! How the two ends of a connection find each other.
//!
//! Where it can (`Options::announces`), the listener leaves a record, empty, when it answers the SYN: an active end that
//! finds none knows at once that its peer is not here. The active end fills it, or enters one of its own. The passive end,
//! whose callback always comes later (its handshake is completed by the active end's ACK), finds the record, demands the
//! [`proof`], takes the active end's particulars from it, deletes it, and leaves an answer in the pairs map. The active end
//! picks that up when it next sends. An answer stays until then, or until the passive end is closed: others cannot push
//! it out.
//!
//! A map element may be given to another connection while a program still holds its address, so each has a check word,
//! a checksum of the words it vouches for, and in an answer of the client's cookie: what is torn, or another's, does
//! not verify and the connection stays plain TCP.

pub(in crate::dataplane) mod address;
mod four_tuple;
mod keys;
pub(in crate::dataplane) mod listener;
pub(in crate::dataplane) mod proof;
mod record;
mod sequence;

pub(in crate::dataplane) use record::{
    FOUND, RECORD, adopt, announce, answer, claim, enter, fill, own_pair_key, require_announcement, require_filled,
    require_unclaimed,
};
pub(in crate::dataplane) use sequence::request_key;
