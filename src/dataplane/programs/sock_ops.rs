//! The sock_ops program: enrols, pairs, and lets go.
//!
//! It never touches `reply` and always returns 1, so that other programs on the same cgroup are not disturbed.

use crate::asm::Reg::{R0, R1, R2, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Label, Program, Size};
use crate::dataplane::emit::{count, known_storage, map_delete, require_enabled};
use crate::dataplane::gate::endpoints::file_is_nonblocking;
use crate::dataplane::kernel::probe::SLOTS_END;
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::membership::{callbacks, enroll, keepalive, unenroll, wake_reader};
use crate::dataplane::options::{Options, Pairing, Readers, Side, Tier};
use crate::dataplane::state::{Counter, MapRole, socket};
use crate::dataplane::{pairing, policy};
use crate::uapi::ctx::sock_ops;
use crate::uapi::helper::id as helper;

/// Stack place of a rendezvous key (at most 32 bytes), below the probe slot.
const KEY_SLOT: i16 = SLOTS_END - 32;
/// Stack place of a record (at most 168 bytes), below the key.
const RECORD_SLOT: i16 = KEY_SLOT - 168;

/// Where a callback ends: out, or first by way of what is to be counted.
#[derive(Clone, Copy)]
struct Ends {
    out: Label,
    no_storage: Label,
    refused: Label,
    plain: Label,
}

pub(in crate::dataplane) fn build(options: &Options) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [active, passive, request, rtt] = ["active", "passive", "request", "rtt"].map(|name| a.label(name));
    let packet = a.label("packet");
    let [out, no_storage, refused, plain] = ["out", "no_storage", "refused", "plain"].map(|name| a.label(name));
    let ends = Ends { out, no_storage, refused, plain };
    a.mov(R6, R1);
    a.load(Size::W, R1, R6, sock_ops::OP);
    a.jump(Cond::Eq, R1, sock_ops::RTT, rtt);
    a.jump(Cond::Eq, R1, sock_ops::ACTIVE_ESTABLISHED, active);
    a.jump(Cond::Eq, R1, sock_ops::PASSIVE_ESTABLISHED, passive);
    if options.announces().is_some() {
        a.jump(Cond::Eq, R1, sock_ops::RWND_INIT, request);
    }
    if options.wakes_readers().is_some() {
        a.jump(Cond::Eq, R1, sock_ops::HDR_OPT_LEN, packet);
    }
    a.bind(out);
    a.mov(R0, 1);
    a.exit();
    if let Some(offsets) = options.announces() {
        a.bind(request);
        syn_received(a, options.pairing, offsets, out);
    }
    a.bind(active);
    active_established(a, options, ends);
    a.bind(passive);
    passive_established(a, options, ends);
    a.bind(rtt);
    rtt_measured(a, options, packet, out);

    a.bind(refused);
    count(a, Counter::MapRefused, 1);
    a.bind(plain);
    a.comment("nobody will send past the stack to us: a peer that waits stays unclaimed and leaves by itself");
    a.store(Size::W, R7, socket::STATE, socket::PLAIN);
    a.goto(out);
    a.bind(no_storage);
    count(a, Counter::NoStorage, 1);
    a.goto(out);
    asm.finish()
}

/// A listener in our scope answers a SYN (the callback that asks for its first window, `tcp_openreq_init_rwin`): if the
/// client is on this node, it will look for the record that is left here.
fn syn_received(a: &mut Asm, pairing: Pairing, offsets: &KernelOffsets, out: Label) {
    a.comment("a client asks for its first window too");
    a.load(Size::W, R1, R6, sock_ops::IS_FULLSOCK);
    a.jump(Cond::Ne, R1, 0, out);
    require_enabled(a, out);
    pairing::request_key(a, offsets, KEY_SLOT, out);
    pairing::announce(a, pairing, KEY_SLOT, RECORD_SLOT);
    a.goto(out);
}

/// The active end enters the sockhash and leaves a record for its passive end: on probation, unless the listener has
/// announced itself.
fn active_established(a: &mut Asm, options: &Options, ends: Ends) {
    let (pairing, out) = (options.pairing, ends.out);
    require_enabled(a, out);
    policy::admit(a, options, Side::Active, RECORD_SLOT, out);
    pairing.rendezvous_key(a, Side::Active, FP, KEY_SLOT);
    if options.announces().is_some() {
        let (announced, remote) = (a.label("announced"), a.label("remote"));
        record_lookup(a, remote);
        a.mov(R7, R0);
        a.goto(announced);
        a.bind(remote);
        a.comment("a server that is here, and in our scope, would have left a record");
        policy::forget_last_connection(a, options, out);
        a.bind(announced);
    }
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    if let (Tier::Gated(offsets), Readers::NonBlocking) = (&options.tier, options.readers) {
        let (blocking, nonblocking) = (a.label("active_blocking"), a.label("active_nonblocking"));
        offsets.behind(a, R9, R8, Object::Sock, out);
        file_is_nonblocking(a, offsets, R9, "nonblocking", [out, blocking, out]);
        a.goto(nonblocking);
        a.bind(blocking);
        count(a, Counter::Blocking, 1);
        policy::forget_last_connection(a, options, out);
        a.bind(nonblocking);
    }
    if options.announces().is_some() {
        a.mov(R9, R7);
    }
    enroll::own_storage(a, options, Side::Active, ends.no_storage);
    a.store(Size::W, R7, socket::STATE, socket::WAITING);
    for word in 0..pairing.rendezvous_key_size() as i16 / 8 {
        a.load(Size::DW, R1, FP, KEY_SLOT + 8 * word);
        a.store(Size::DW, R7, socket::RENDEZVOUS_KEY + 8 * word, R1);
    }
    enroll::enroll(a, options, ends.refused);
    if options.announces().is_some() {
        pairing::fill(a, pairing, R9, 0);
    } else {
        pairing::enter(a, pairing, RECORD_SLOT);
        let entered = a.label("entered");
        a.jump(Cond::Eq, R0, 0, entered);
        map_delete(a, MapRole::Sockets, R7, socket::own_key(pairing));
        a.goto(ends.plain);
        a.bind(entered);
    }
    callbacks::want(a, options);
    count(a, Counter::Enrolled, 1);
    a.goto(out);
}

/// The passive end looks for its active one; when there is none, its peer is on another node and it stays out.
fn passive_established(a: &mut Asm, options: &Options, ends: Ends) {
    let (pairing, out) = (options.pairing, ends.out);
    require_enabled(a, out);
    policy::admit(a, options, Side::Passive, RECORD_SLOT, out);
    pairing.rendezvous_key(a, Side::Passive, FP, KEY_SLOT);
    record_lookup(a, out);
    a.mov(R9, R0);
    if options.announces().is_some() {
        a.comment("announced by our listener, but no active end has come");
        pairing::require_filled(a, R9, out);
    }
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    enroll::own_storage(a, options, Side::Passive, ends.no_storage);
    pairing.confirm(a, ends.plain);
    pairing::claim(a, pairing, ends.plain);
    a.store(Size::W, R7, socket::STATE, socket::PAIRED);
    enroll::enroll(a, options, ends.refused);
    pairing::publish(a, pairing);
    callbacks::want(a, options);
    keepalive::renew_tracking(a, options);
    count(a, Counter::Paired, 1);
    a.goto(out);
}

/// R0 = the record under the key at [`KEY_SLOT`], or a jump to `none`.
fn record_lookup(a: &mut Asm, none: Label) {
    a.mov(R2, FP);
    a.add(R2, i32::from(KEY_SLOT));
    a.load_map(R1, MapRole::Rendezvous.map_ref());
    a.call(helper::MAP_LOOKUP_ELEM);
    a.jump(Cond::Eq, R0, 0, none);
}

/// A round-trip time was measured: bytes of ours have been acknowledged on the stack, so our peer's callback, if it
/// is on this node, is over. Or, at `packet`, we are sending one, which says nothing of who is still waiting.
fn rtt_measured(a: &mut Asm, options: &Options, packet: Label, out: Label) {
    let pairing = options.pairing;
    let [waiting, unclaimed, lost, known, stay] =
        ["waiting", "unclaimed", "lost", "known", "stays"].map(|name| a.label(name));
    known_storage(a, out);
    a.jump(Cond::Eq, R1, socket::WAITING, waiting);
    if let Some(offsets) = options.wakes_readers() {
        a.goto(known);
        a.bind(packet);
        wake_reader::worth_a_look(a, offsets, out);
        known_storage(a, out);
        a.jump(Cond::Ne, R1, socket::WAITING, known);
        pairing::adopt(a, pairing, out, stay);
        a.mov(R1, socket::PAIRED);
        a.bind(known);
    }
    match (&options.tier, options.wakes_readers()) {
        (Tier::Gated(offsets), Some(_)) => {
            unenroll::paired(a, options, offsets, [stay, out], |a| wake_reader::after_unenroll(a, offsets));
            a.bind(stay);
            wake_reader::watch(a, offsets, out);
        }
        (Tier::Gated(offsets), None) => unenroll::paired(a, options, offsets, [out, out], |_| ()),
        (Tier::Sticky, _) => {
            a.goto(out);
        }
    }

    a.bind(waiting);
    pairing::adopt(a, pairing, unclaimed, lost);
    a.goto(out);
    a.bind(unclaimed);
    a.comment("our peer is not on this node, or outside our cgroup: back to plain TCP");
    map_delete(a, MapRole::Rendezvous, R7, socket::RENDEZVOUS_KEY);
    map_delete(a, MapRole::Sockets, R7, socket::own_key(pairing));
    count(a, Counter::Unclaimed, 1);
    a.store(Size::W, R7, socket::STATE, socket::PLAIN);
    callbacks::drop(a, options);
    a.goto(out);
    a.bind(lost);
    a.comment("without its record nobody knows whether somebody redirects to us, so then we stay, and pass");
    if options.wakes_readers().is_some() {
        a.goto(stay);
    } else {
        callbacks::drop(a, options);
        a.goto(out);
    }
}
