//! The record in the rendezvous map: written by the active end, claimed and completed by the passive one, adopted by
//! the active one. `state::record` draws it.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{Asm, Cond, FP, Label, Reg, Size};
use crate::dataplane::emit::map_delete;
use crate::dataplane::options::Pairing;
use crate::dataplane::state::record::{CHECK, CLIENT, CLIENT_KEY, COOKIE, NUMBERS, SERVER, SERVER_KEY, SK, STORAGE};
use crate::dataplane::state::{MapRole, keys, socket};
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;

/// Words of one half that its check vouches for, as offsets into the record.
fn words(pairing: Pairing, half: i16, key: i16) -> impl Iterator<Item = i16> {
    let key_words = if pairing == Pairing::FourTuple { keys::FOUR_TUPLE_SIZE / 8 } else { 0 };
    [half + COOKIE, half + SK, half + STORAGE].into_iter().chain((0..key_words).map(move |word| key + 8 * word))
}

/// `dst` = exclusive or of the words of one half of the record at `base`.
#[track_caller]
fn checksum(a: &mut Asm, pairing: Pairing, dst: Reg, scratch: Reg, base: Reg, half: i16, key: i16) {
    a.mov(dst, 0);
    for word in words(pairing, half, key) {
        a.load(Size::DW, scratch, base, word);
        a.xor(dst, scratch);
    }
}

/// Copies our own cookie, addresses and key from the storage (R7) into one half of the record at `base + offset`.
#[track_caller]
fn store_half(a: &mut Asm, pairing: Pairing, base: Reg, offset: i16, half: i16, key: i16) {
    let own = socket::own_key(pairing);
    let pairs = [(half + SK, socket::OWN_SK), (half + STORAGE, socket::OWN_STORAGE)].into_iter();
    let key_words = words(pairing, half, key).skip(3).zip((0..).map(|word| own + 8 * word));
    for (theirs, ours) in pairs.chain(key_words) {
        a.load(Size::DW, R1, R7, ours);
        a.store(Size::DW, base, offset + theirs, R1);
    }
}

/// Listener: enters an empty record, built at `slot`, under the key at `key`; R0 is the result.
#[track_caller]
pub(in crate::dataplane) fn announce(a: &mut Asm, pairing: Pairing, key: i16, slot: i16) {
    a.comment("the record by which the active end will know that we are here");
    for word in 0..pairing.record_size() as i16 / 8 {
        a.store(Size::DW, FP, slot + 8 * word, 0);
    }
    update(a, FP, key, slot);
}

/// Active end: fills in the record at `base + offset` from the storage (R7).
#[track_caller]
pub(in crate::dataplane) fn fill(a: &mut Asm, pairing: Pairing, base: Reg, offset: i16) {
    a.comment("the record by which the passive end will find us");
    a.store(Size::DW, base, offset + SERVER + COOKIE, 0);
    a.load(Size::DW, R1, R7, socket::OWN_COOKIE);
    a.store(Size::DW, base, offset + CLIENT + COOKIE, R1);
    store_half(a, pairing, base, offset, CLIENT, CLIENT_KEY);
    if pairing == Pairing::FourTuple {
        a.load(Size::W, R1, R6, sock_ops::SND_NXT);
        a.store(Size::W, base, offset + NUMBERS, R1);
        a.load(Size::W, R1, R6, sock_ops::RCV_NXT);
        a.store(Size::W, base, offset + NUMBERS + 4, R1);
    }
    a.mov(R3, base);
    a.add(R3, i32::from(offset));
    checksum(a, pairing, R1, R2, R3, CLIENT, CLIENT_KEY);
    a.store(Size::DW, base, offset + CLIENT + CHECK, R1);
}

/// Active end that was not announced: builds the record at `slot` and enters it; R0 is the result.
#[track_caller]
pub(in crate::dataplane) fn enter(a: &mut Asm, pairing: Pairing, slot: i16) {
    for word in 0..pairing.record_size() as i16 / 8 {
        a.store(Size::DW, FP, slot + 8 * word, 0);
    }
    fill(a, pairing, FP, slot);
    update(a, R7, socket::RENDEZVOUS_KEY, slot);
}

/// Enters the record at `slot` under the key at `base + key`.
#[track_caller]
fn update(a: &mut Asm, base: Reg, key: i16, slot: i16) {
    a.mov(R2, base);
    a.add(R2, i32::from(key));
    a.mov(R3, FP);
    a.add(R3, i32::from(slot));
    a.load_map(R1, MapRole::Rendezvous.map_ref());
    a.mov(Reg::R4, 0);
    a.call(helper::MAP_UPDATE_ELEM);
}

/// Passive end: jumps to `no` when no active end has filled in the record at `base`.
#[track_caller]
pub(in crate::dataplane) fn require_filled(a: &mut Asm, base: Reg, no: Label) {
    a.load(Size::DW, R1, base, CLIENT + COOKIE);
    a.jump(Cond::Eq, R1, 0, no);
}

/// Passive end: copies the client's half of the record (R9) into the storage (R7), or jumps to `no` when it is taken
/// or does not verify.
#[track_caller]
pub(in crate::dataplane) fn claim(a: &mut Asm, pairing: Pairing, no: Label) {
    a.load(Size::DW, R1, R9, SERVER + COOKIE);
    a.jump(Cond::Ne, R1, 0, no);
    take_half(a, pairing, R9, CLIENT, CLIENT_KEY, None, no);
}

/// Passive end: adds our half to the record (R9), the cookie last: the client looks for it first.
#[track_caller]
pub(in crate::dataplane) fn publish(a: &mut Asm, pairing: Pairing) {
    a.comment("publish ourselves to the active end");
    store_half(a, pairing, R9, 0, SERVER, SERVER_KEY);
    a.load(Size::DW, R8, R7, socket::OWN_COOKIE);
    a.load(Size::DW, R1, R7, socket::PEER_COOKIE);
    a.xor(R1, R8);
    for word in words(pairing, SERVER, SERVER_KEY).skip(1) {
        a.load(Size::DW, R2, R9, word);
        a.xor(R1, R2);
    }
    a.store(Size::DW, R9, SERVER + CHECK, R1);
    a.store(Size::DW, R9, SERVER + COOKIE, R8);
}

/// Active end: takes its peer from the record, if it has been claimed, and becomes [`socket::PAIRED`]; else jumps to
/// `unclaimed`, or to `lost` when there is no such record any more. Uses R8.
#[track_caller]
pub(in crate::dataplane) fn adopt(a: &mut Asm, pairing: Pairing, unclaimed: Label, lost: Label) {
    a.comment("has the passive end claimed us?");
    a.mov(R2, R7);
    a.add(R2, i32::from(socket::RENDEZVOUS_KEY));
    a.load_map(R1, MapRole::Rendezvous.map_ref());
    a.call(helper::MAP_LOOKUP_ELEM);
    a.jump(Cond::Eq, R0, 0, lost);
    a.mov(R8, R0);
    a.load(Size::DW, R1, R8, CLIENT + COOKIE);
    a.load(Size::DW, R2, R7, socket::OWN_COOKIE);
    a.jump(Cond::Ne, R1, R2, lost);
    a.load(Size::DW, R1, R8, SERVER + COOKIE);
    a.jump(Cond::Eq, R1, 0, unclaimed);
    take_half(a, pairing, R8, SERVER, SERVER_KEY, Some(socket::OWN_COOKIE), lost);
    a.store(Size::W, R7, socket::STATE, socket::PAIRED);
    map_delete(a, MapRole::Rendezvous, R7, socket::RENDEZVOUS_KEY);
}

/// Copies one half of `record` into the peer's place in the storage (R7) and verifies what was copied, so that a
/// record that changes meanwhile cannot slip through. The server's half is bound to the cookie at `bound_to`.
#[track_caller]
fn take_half(a: &mut Asm, pairing: Pairing, record: Reg, half: i16, key: i16, bound_to: Option<i16>, no: Label) {
    let peer_key = socket::peer_key(pairing);
    let targets = [socket::PEER_COOKIE, socket::PEER_SK, socket::PEER_STORAGE].into_iter();
    let targets = targets.chain((0..).map(|word| peer_key + 8 * word));
    match bound_to {
        Some(own) => a.load(Size::DW, R3, R7, own),
        None => a.mov(R3, 0),
    };
    for (from, to) in words(pairing, half, key).zip(targets) {
        a.load(Size::DW, R1, record, from);
        a.store(Size::DW, R7, to, R1);
        a.xor(R3, R1);
    }
    a.load(Size::DW, R1, record, half + CHECK);
    a.jump(Cond::Ne, R1, R3, no);
}
