//! The sock_ops program: enrols, pairs, and lets go.
//!
//! It never touches `reply` and always returns 1, so that other programs on the same cgroup are not disturbed.

use super::counters::Counter;
use super::ctx::sock_ops;
use super::emit::{SLOTS_END, count, map_delete, number_of, require_enabled, storage_get};
use super::ends::file_is_nonblocking;
use super::kernel::Object;
use super::maps::MapRole;
use super::policy::{self, Side};
use super::{Options, Readers, Tier, helper, leave, pairing, storage};
use crate::asm::Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Label, Program, Size};

/// Stack place of a rendezvous key (at most 32 bytes), below the probe slot.
const KEY_SLOT: i16 = SLOTS_END - 32;
/// Stack place of a record (at most 168 bytes), below the key.
const RECORD_SLOT: i16 = KEY_SLOT - 168;

pub(super) fn build(options: &Options) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [active, passive, rtt, out] = ["active", "passive", "rtt", "out"].map(|name| a.label(name));
    a.mov(R6, R1);
    a.load(Size::W, R1, R6, sock_ops::OP);
    a.jump(Cond::Eq, R1, sock_ops::RTT, rtt);
    a.jump(Cond::Eq, R1, sock_ops::ACTIVE_ESTABLISHED, active);
    a.jump(Cond::Eq, R1, sock_ops::PASSIVE_ESTABLISHED, passive);
    a.bind(out);
    a.mov(R0, 1);
    a.exit();
    a.bind(active);
    active_established(a, options, out);
    a.bind(passive);
    passive_established(a, options, out);
    a.bind(rtt);
    rtt_measured(a, options, out);
    asm.finish()
}

/// The active end enters the sockhash on probation and leaves a record for its passive end.
fn active_established(a: &mut Asm, options: &Options, out: Label) {
    let pairing = options.pairing;
    let [no_storage, refused, plain] =
        ["active_no_storage", "active_refused", "active_plain"].map(|name| a.label(name));
    require_enabled(a, out);
    policy::admit(a, options, Side::Active, RECORD_SLOT, out);
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    if let (Tier::Gated(offsets), Readers::NonBlocking) = (&options.tier, options.readers) {
        let (blocking, nonblocking) = (a.label("active_blocking"), a.label("active_nonblocking"));
        number_of(a, R9, R8, out);
        offsets.open(a, R9, Object::Sock);
        file_is_nonblocking(a, offsets, R9, "nonblocking", [out, blocking, out]);
        a.goto(nonblocking);
        a.bind(blocking);
        count(a, Counter::Blocking, 1);
        policy::forget_last_connection(a, options, out);
        a.bind(nonblocking);
    }
    own_storage(a, options, Side::Active, no_storage);
    a.store(Size::W, R7, storage::STATE, storage::WAITING);
    pairing.active_rendezvous_key(a);
    enroll(a, options, refused);
    pairing::waiting_record(a, pairing, RECORD_SLOT);
    let entered = a.label("entered");
    a.jump(Cond::Eq, R0, 0, entered);
    map_delete(a, MapRole::Sockets, R7, storage::own_key(pairing));
    a.goto(plain);
    a.bind(entered);
    want_rtt(a);
    count(a, Counter::Enrolled, 1);
    a.goto(out);

    a.bind(refused);
    count(a, Counter::MapRefused, 1);
    a.bind(plain);
    a.store(Size::W, R7, storage::STATE, storage::PLAIN);
    a.goto(out);
    a.bind(no_storage);
    count(a, Counter::NoStorage, 1);
    a.goto(out);
}

/// The passive end looks for its active one; when there is none, its peer is on another node and it stays out.
fn passive_established(a: &mut Asm, options: &Options, out: Label) {
    let pairing = options.pairing;
    let [no_storage, refused, plain] =
        ["passive_no_storage", "passive_refused", "passive_plain"].map(|name| a.label(name));
    require_enabled(a, out);
    policy::admit(a, options, Side::Passive, RECORD_SLOT, out);
    pairing.passive_rendezvous_key(a, KEY_SLOT);
    a.mov(R2, FP);
    a.add(R2, i32::from(KEY_SLOT));
    a.load_map(R1, MapRole::Rendezvous.map_ref());
    a.call(helper::MAP_LOOKUP_ELEM);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R9, R0);
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    own_storage(a, options, Side::Passive, no_storage);
    pairing.confirm(a, plain);
    pairing::claim(a, pairing, plain);
    a.store(Size::W, R7, storage::STATE, storage::PAIRED);
    enroll(a, options, refused);
    pairing::publish(a, pairing);
    want_rtt(a);
    count(a, Counter::Paired, 1);
    a.goto(out);

    a.bind(refused);
    count(a, Counter::MapRefused, 1);
    a.bind(plain);
    a.comment("nobody will send to us: the active end stays unclaimed and leaves by itself");
    a.store(Size::W, R7, storage::STATE, storage::PLAIN);
    a.goto(out);
    a.bind(no_storage);
    count(a, Counter::NoStorage, 1);
    a.goto(out);
}

/// A round-trip time was measured: bytes of ours have been acknowledged on the stack, so our peer's callback, if it
/// is on this node, is over.
fn rtt_measured(a: &mut Asm, options: &Options, out: Label) {
    let pairing = options.pairing;
    let [waiting, unclaimed, lost] = ["waiting", "unclaimed", "lost"].map(|name| a.label(name));
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    storage_get(a, R8, false);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    a.load(Size::W, R1, R7, storage::STATE);
    a.jump(Cond::Eq, R1, storage::WAITING, waiting);
    match &options.tier {
        Tier::Gated(offsets) => leave::paired(a, options, offsets, out),
        Tier::Sticky => {
            a.goto(out);
        }
    }

    a.bind(waiting);
    pairing::adopt(a, pairing, unclaimed, lost);
    a.goto(out);
    a.bind(unclaimed);
    a.comment("our peer is not on this node, or outside our cgroup: back to plain TCP");
    map_delete(a, MapRole::Rendezvous, R7, storage::RENDEZVOUS_KEY);
    map_delete(a, MapRole::Sockets, R7, storage::own_key(pairing));
    count(a, Counter::Unclaimed, 1);
    a.store(Size::W, R7, storage::STATE, storage::PLAIN);
    a.bind(lost);
    a.comment("without its record nobody knows whether somebody redirects to us, so then we stay, and pass");
    leave::drop_rtt(a);
    a.goto(out);
}

/// R7 = a fresh storage of the socket in R8, with our own particulars. A socket that connects again, after
/// connect(AF_UNSPEC), keeps its storage, so every field is written; it also keeps its place in the sockhash and the
/// bytes of its last connection, which go here.
fn own_storage(a: &mut Asm, options: &Options, side: Side, none: Label) {
    let fresh = a.label("first_connection");
    storage_get(a, R8, true);
    a.jump(Cond::Eq, R0, 0, none);
    a.mov(R7, R0);
    a.load(Size::W, R1, R7, storage::STATE);
    a.jump(Cond::Eq, R1, 0, fresh);
    map_delete(a, MapRole::Sockets, R7, storage::own_key(options.pairing));
    a.bind(fresh);
    for offset in (0..storage::size(options.pairing) as i16).step_by(8) {
        a.store(Size::DW, R7, offset, 0);
    }
    if let Tier::Gated(_) = options.tier {
        a.store(Size::DW, R7, storage::OWN_SK, R8);
        a.store(Size::DW, R7, storage::OWN_STORAGE, R7);
    }
    if options.policy.direction.keeps(side) {
        a.store(Size::W, R7, storage::FLAGS, storage::BY_STACK);
    }
    a.mov(R1, R6);
    a.call(helper::GET_SOCKET_COOKIE);
    a.store(Size::DW, R7, storage::OWN_COOKIE, R0);
    options.pairing.own_key(a);
}

/// Puts the socket into the sockhash under its own key.
fn enroll(a: &mut Asm, options: &Options, refused: Label) {
    a.mov(R1, R6);
    a.load_map(R2, MapRole::Sockets.map_ref());
    a.mov(R3, R7);
    let key = storage::own_key(options.pairing);
    if key != 0 {
        a.add(R3, i32::from(key));
    }
    a.mov(R4, 0);
    a.call(helper::SOCK_HASH_UPDATE);
    a.jump(Cond::Ne, R0, 0, refused);
}

/// Asks for RTT callbacks without disturbing the flags others have set.
fn want_rtt(a: &mut Asm) {
    let (foreign, done) = (a.label("rtt_foreign"), a.label("rtt_wanted"));
    a.load(Size::W, R2, R6, sock_ops::CB_FLAGS);
    a.jump(Cond::Set, R2, sock_ops::RTT_FLAG, foreign);
    a.or(R2, sock_ops::RTT_FLAG);
    a.mov(R1, R6);
    a.call(helper::SOCK_OPS_CB_FLAGS_SET);
    a.goto(done);
    a.bind(foreign);
    super::emit::set_flags(a, storage::RTT_FOREIGN);
    a.bind(done);
}
