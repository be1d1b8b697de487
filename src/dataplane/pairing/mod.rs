//! How the two ends of a connection find each other.
//!
//! The active end leaves a record in the rendezvous map; the passive end, whose callback always comes later (its
//! handshake is completed by the active end's ACK), finds it, takes the active end's particulars from it and adds
//! its own; the active end picks these up when it next sends.
//!
//! Where it can (`Options::announces`), the listener makes the record, empty, when it answers
//! the SYN. Then an active end that finds none knows at once that its peer is not here.
//!
//! A map element may be given to another connection while a program still holds its address, so each half carries a
//! check word, the exclusive or of the words it vouches for and the client's cookie: a record that is torn, or
//! another connection's, does not verify and the connection stays plain TCP.

pub(in crate::dataplane) mod address;
mod four_tuple;
mod keys;
mod record;
mod sequence;

pub(in crate::dataplane) use record::{RECORD, adopt, announce, claim, enter, fill, publish, require_filled};
pub(in crate::dataplane) use sequence::request_key;
