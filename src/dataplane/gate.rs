//! The gate: a message is redirected only while nobody can tell.
//!
//! A receiver reads redirected messages before bytes that came by the stack (`tcp_bpf_recvmsg`). So a redirected
//! message may only be sent when the receiver has read everything we ever sent by the stack; a message by the stack
//! may follow redirected ones at any time.

use super::config::Config;
use super::counters::Counter;
use super::ctx::{self, sk_msg};
use super::emit::set_flags;
use super::kernel::{Object, StorageHead};
use super::maps::MapRole;
use super::{KernelOffsets, Options, Readers, ends, linger, room, storage};
use crate::asm::Reg::{R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{Asm, Cond, Label, Size};

/// The ways out of the gate: labels to jump to, and the counter that says why.
pub(super) struct Exits {
    list: Vec<(Label, Counter)>,
    /// Where a message goes whose reason was left by [`linger::note`].
    pub(super) noted: Label,
}

impl Exits {
    pub(super) fn new(a: &mut Asm) -> Self {
        Self { list: Vec::new(), noted: a.label("pass_as_noted") }
    }

    /// The label of the exit that counts `counter`.
    pub(super) fn to(&mut self, a: &mut Asm, counter: Counter) -> Label {
        if let Some((label, _)) = self.list.iter().find(|(_, known)| *known == counter) {
            return *label;
        }
        let label = a.label(counter.name());
        self.list.push((label, counter));
        label
    }

    /// The exits asked for, to be bound.
    pub(super) fn into_list(self) -> Vec<(Label, Counter)> {
        self.list
    }
}

/// Falls through when the message may be redirected. R6 context, R7 storage of a paired socket; uses R8 and R9.
pub(super) fn gated(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let staying = a.label("staying");

    a.load(Size::W, R1, R7, storage::SENT);
    a.add(R1, 1);
    a.store(Size::W, R7, storage::SENT, R1);
    a.comment("the peer's storage is still the peer's, and neither end is leaving");
    a.load(Size::DW, R8, R7, storage::PEER_STORAGE);
    let peer = offsets.storage_head(a, R8, stale);
    peer.cookie(a, R1);
    a.load(Size::DW, R2, R7, storage::PEER_COOKIE);
    a.jump(Cond::Ne, R1, R2, stale);
    peer.flags(a, R1);
    a.load(Size::W, R2, R7, storage::FLAGS);
    a.or(R1, R2);
    a.and(R1, storage::LEAVING);
    a.jump(Cond::Eq, R1, 0, staying);
    linger::note(a, Counter::PassLeaving);
    a.bind(staying);
    stream(a, offsets, peer, exits);

    a.load(Size::DW, R8, R7, storage::PEER_SK);
    offsets.open(a, R8, Object::Sock);
    ends::require(a, options, offsets, exits);
    order(a, options, offsets, exits);

    a.comment("a receiver that wants several bytes at once, or none, is the stack's");
    let state = exits.to(a, Counter::PassState);
    offsets.read(a, R1, Size::W, R8, offsets.rcvlowat, stale);
    a.jump32(Cond::Sgt, R1, 1, state);
    offsets.read(a, R1, Size::B, R8, offsets.shutdown, stale);
    // RCV_SHUTDOWN, include/net/sock.h
    a.jump(Cond::Set, R1, 1, state);

    room::memory(a, offsets, exits);
    room::backpressure(a, offsets, exits);
}

/// Not a stream that the stack would gather: the pair of one leaves. `peer` is the head of the peer's storage.
fn stream(a: &mut Asm, offsets: &KernelOffsets, peer: StorageHead, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let [answered, single] = ["answered", "no_stream"].map(|name| a.label(name));
    a.comment("how many messages in a row?");
    peer.sent(a, R1);
    a.load(Size::W, R2, R7, storage::PEER_SENT);
    a.jump(Cond::Ne, R1, R2, answered);
    a.load(Size::W, R1, R7, storage::RUN);
    a.add(R1, 1);
    a.store(Size::W, R7, storage::RUN, R1);
    a.load_map_value(R2, MapRole::Config.map_ref(), Config::STREAM_MESSAGES as u32);
    a.load(Size::W, R2, R2, 0);
    a.jump(Cond::Le, R1, R2, single);
    a.load(Size::DW, R9, R7, storage::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R1, Size::B, R9, offsets.nonagle, stale);
    a.jump(Cond::Set, R1, ctx::NAGLE_OFF, single);
    set_flags(a, storage::LEAVING);
    linger::note(a, Counter::PassStream);
    a.goto(single);
    a.bind(answered);
    a.store(Size::W, R7, storage::PEER_SENT, R1);
    a.store(Size::W, R7, storage::RUN, 0);
    a.bind(single);
}

/// No byte of ours is in flight or unread on the stack path; R8 is the peer.
///
/// A reader that may block can also sleep inside the call that read our last stack bytes, with the lock given up
/// (MSG_WAITALL). So where such readers are served, a message by the stack is the last of its direction
/// (`sk_msg`), and there is no call to wait for.
fn order(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    let order = exits.to(a, Counter::PassOrder);
    a.comment("order: peer.copied_seq == own.write_seq");
    a.load(Size::DW, R9, R7, storage::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    offsets.read(a, R9, Size::W, R9, offsets.write_seq, stale);
    offsets.read(a, R1, Size::W, R8, offsets.copied_seq, stale);
    a.jump32(Cond::Ne, R1, R9, order);
    if options.readers == Readers::Any {
        return;
    }
    let busy = exits.to(a, Counter::PassBusy);
    let [look, quiet] = ["look_for_reader", "quiet"].map(|name| a.label(name));
    a.load(Size::W, R1, R7, storage::FLAGS);
    a.jump(Cond::Set, R1, storage::QUIET, look);
    let check = a.label("check_reader");
    a.goto(check);
    a.bind(look);
    a.load(Size::W, R1, R7, storage::LAST_SEQ);
    a.jump32(Cond::Eq, R1, R9, quiet);
    a.bind(check);
    a.comment("the call that read our last stack bytes must be over: inside it, later stack bytes would overtake");
    offsets.read(a, R1, Size::W, R8, offsets.lock_owned, stale);
    a.jump32(Cond::Ne, R1, 0, busy);
    a.comment("and it may not sleep there with the lock given up, as it does in MSG_WAITALL");
    ends::require_nonblocking_receiver(a, offsets, exits);
    a.store(Size::W, R7, storage::LAST_SEQ, R9);
    set_flags(a, storage::QUIET);
    a.bind(quiet);
}

/// The rule where the peer cannot be seen: the first message that takes the stack keeps its direction there for
/// good, and so does a direction that has used up its bytes, since nothing tells how many are still unread.
pub(super) fn sticky(a: &mut Asm, exits: &mut Exits) {
    let order = exits.to(a, Counter::PassOrder);
    let behind = exits.to(a, Counter::PassBackpressure);
    a.load(Size::W, R1, R7, storage::FLAGS);
    a.jump(Cond::Set, R1, storage::PASSED, order);
    a.load(Size::DW, R1, R7, storage::BURST_BYTES);
    a.load(Size::W, R2, R6, sk_msg::SIZE);
    a.add(R1, R2);
    a.load_map_value(R3, MapRole::Config.map_ref(), 0);
    a.load(Size::W, R2, R3, Config::STICKY_BYTES);
    a.jump(Cond::Gt, R1, R2, behind);
}
