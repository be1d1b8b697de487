//! The drain: a BPF iterator over the sockhash (Linux 5.10) that deletes the entries whose queue of redirected
//! messages is empty.
//!
//! It runs after the soft switch is off, when an empty queue stays empty but for messages underway (`gate::deferral`): a
//! sender that may be underway, or has sent while the drain looked, is waited for. Entries with unread bytes are counted
//! and left for the next pass: deleting them would lose the bytes.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Label, Program, Size};
use crate::dataplane::emit::{count, storage_get};
use crate::dataplane::kernel::probe::SLOTS_END;
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::options::Options;
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::ctx::iter_sockmap;
use crate::uapi::helper::id as helper;

/// Stack place of the copy of the key, at most 48 bytes.
const KEY_SLOT: i16 = SLOTS_END - 48;
/// Stack place of the address of the peer's storage, or 0.
const PEER_SLOT: i16 = KEY_SLOT - 8;
/// Stack place of the peer's [`socket::SENT`] as it was at first.
const SENT_SLOT: i16 = PEER_SLOT - 8;

pub(in crate::dataplane) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [out, waiting, empty] = ["out", "waiting", "empty"].map(|name| a.label(name));
    a.mov(R6, R1);
    a.comment("both are null in the call that ends the iteration");
    a.load(Size::DW, R7, R6, iter_sockmap::KEY);
    a.jump(Cond::Eq, R7, 0, out);
    a.load(Size::DW, R8, R6, iter_sockmap::SK);
    a.jump(Cond::Eq, R8, 0, out);
    a.comment("the delete helper takes keys from the stack, not from the iterator's buffer");
    for word in 0..options.pairing.socket_key_size() as i16 / 8 {
        a.load(Size::DW, R1, R7, 8 * word);
        a.store(Size::DW, FP, KEY_SLOT + 8 * word, R1);
    }
    if offsets.iterators_have_storage {
        no_sender_underway(a, options, offsets, waiting);
    }
    offsets.behind(a, R9, R8, Object::Sock, out);
    psock(a, offsets, R9, R9, out, waiting);
    queue(a, offsets, R9, waiting);
    a.jump(Cond::Eq, R1, R9, empty);
    a.bind(waiting);
    count(a, Counter::DrainWaiting, 1);
    a.goto(out);
    a.bind(empty);
    if offsets.iterators_have_storage {
        no_message_since(a, offsets, waiting);
    }
    a.load_map(R1, MapRole::Sockets.map_ref());
    a.mov(R2, FP);
    a.add(R2, i32::from(KEY_SLOT));
    a.call(helper::MAP_DELETE_ELEM);
    a.jump(Cond::Ne, R0, 0, out);
    count(a, Counter::Drained, 1);
    a.bind(out);
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// Goes to `waiting` while our socket is armed, or a thread of the peer may be between its verdict and our queue:
/// `tcp_bpf_sendmsg` holds a reference on its psock all the way. R8 is our socket; uses R6 and R9. Without the storage
/// helper, all depends on the time that the agent lets pass.
fn no_sender_underway(a: &mut Asm, options: &Options, offsets: &KernelOffsets, waiting: Label) {
    let quiet = a.label("peer_quiet");
    a.store(Size::DW, FP, PEER_SLOT, 0);
    storage_get(a, R8, false);
    a.jump(Cond::Eq, R0, 0, quiet);
    a.mov(R9, R0);
    if options.wakes_readers().is_some() {
        unarmed(a, waiting);
    }
    a.load(Size::W, R1, R9, socket::STATE);
    a.jump(Cond::Ne, R1, socket::PAIRED, quiet);
    a.load(Size::DW, R6, R9, socket::PEER_STORAGE);
    let peer = offsets.storage_head(a, R6, waiting);
    peer.cookie(a, R1);
    peer.sent(a, R3);
    a.load(Size::DW, R2, R9, socket::PEER_COOKIE);
    a.jump(Cond::Ne, R1, R2, quiet);
    a.store(Size::W, FP, SENT_SLOT, R3);
    a.load(Size::DW, R1, R9, socket::PEER_STORAGE);
    a.store(Size::DW, FP, PEER_SLOT, R1);
    a.load(Size::DW, R6, R9, socket::PEER_SK);
    offsets.open(a, R6, Object::Sock);
    psock(a, offsets, R6, R6, quiet, waiting);
    offsets.read(a, R1, Size::W, R6, offsets.psock_refcnt, waiting);
    a.jump(Cond::Ne, R1, 1, waiting);
    a.bind(quiet);
}

/// Goes to `waiting` when the socket whose storage is in R9 has our keepalive settings (`membership::wake_reader`), and there are
/// callbacks that will take them back.
fn unarmed(a: &mut Asm, waiting: Label) {
    let unarmed = a.label("not_armed");
    a.load_map_value(R1, MapRole::Config.map_ref(), Config::SPARE_ARMED as u32);
    a.load(Size::W, R1, R1, 0);
    a.jump(Cond::Eq, R1, 0, unarmed);
    a.load(Size::W, R1, R9, socket::FLAGS);
    a.jump(Cond::Set, R1, socket::ARMED, waiting);
    a.bind(unarmed);
}

/// Goes to `waiting` when the peer has sent since [`no_sender_underway`]: it may have seen a queue that was not empty.
/// Uses R6.
fn no_message_since(a: &mut Asm, offsets: &KernelOffsets, waiting: Label) {
    let quiet = a.label("peer_still_quiet");
    a.load(Size::DW, R6, FP, PEER_SLOT);
    a.jump(Cond::Eq, R6, 0, quiet);
    let peer = offsets.storage_head(a, R6, waiting);
    peer.sent(a, R1);
    a.load(Size::W, R2, FP, SENT_SLOT);
    a.jump(Cond::Ne, R1, R2, waiting);
    a.bind(quiet);
}
