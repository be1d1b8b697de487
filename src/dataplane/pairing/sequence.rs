//! Pairing by the handshake's sequence numbers.
//!
//! When the connection is established the client's (snd_nxt, rcv_nxt) are the server's (rcv_nxt, snd_nxt): one past
//! the two initial sequence numbers. SYN cookies keep this; TCP Fast Open data, SYNPROXY and anything else that
//! rewrites sequence numbers breaks it, and such a connection simply finds no partner.

use super::super::ctx::sock_ops;
use super::super::storage;
use crate::asm::Reg::{R1, R6, R7};
use crate::asm::{Asm, FP, Size};

/// Storage key of the active end: its snd_nxt, rcv_nxt.
#[track_caller]
pub(super) fn active_key(a: &mut Asm) {
    a.load(Size::W, R1, R6, sock_ops::SND_NXT);
    a.store(Size::W, R7, storage::RENDEZVOUS_KEY, R1);
    a.load(Size::W, R1, R6, sock_ops::RCV_NXT);
    a.store(Size::W, R7, storage::RENDEZVOUS_KEY + 4, R1);
}

/// The same numbers as the passive end sees them.
#[track_caller]
pub(super) fn passive_key(a: &mut Asm, slot: i16) {
    a.load(Size::W, R1, R6, sock_ops::RCV_NXT);
    a.store(Size::W, FP, slot, R1);
    a.load(Size::W, R1, R6, sock_ops::SND_NXT);
    a.store(Size::W, FP, slot + 4, R1);
}
