//! The sock_ops program: enrols, pairs, and lets go.
//!
//! It never touches `reply` and always returns 1, so that other programs on the same cgroup are not disturbed.

use crate::asm::Reg::{R0, R1, R6, R7, R8, R9};
use crate::asm::{self, Asm, Base, Label, Place, Program, Ptr, Slot, Uses};
use crate::dataplane::emit::{copy_words, count, known_storage, map_delete, map_lookup, require_enabled, set_flags};
use crate::dataplane::gate::endpoints::{NoFile, file_is_nonblocking};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::membership::changes::{self, Known};
use crate::dataplane::membership::{callbacks, closing, enroll, keepalive, tally, unenroll, wake_reader, window};
use crate::dataplane::options::{Options, Pairing, Readers, Side, Tier};
use crate::dataplane::pairing::{FOUND, RECORD};
use crate::dataplane::state::record::{Proof, Record, RecordKey};
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::{ChangeKind, Counter, MapRole};
use crate::dataplane::{pairing, policy};
use crate::uapi::ctx::sock_ops;
use crate::uapi::net;

/// Where a callback exits: out, or first by way of what is to be counted.
#[derive(Clone, Copy)]
struct CallbackExits {
    out: Label,
    no_storage: Label,
    refused: Label,
    plain: Label,
}

/// The stack that a callback which pairs has.
#[derive(Clone, Copy)]
struct CallbackFrame {
    /// What nominates the peer, and behind it the proof: the key of a record.
    key: Slot<RecordKey>,
    /// A record that is built.
    record: Slot<Record>,
}

impl CallbackFrame {
    fn new(a: &mut Asm) -> Self {
        Self { key: a.slot("key"), record: a.slot("record") }
    }

    /// Where the proof stands.
    fn proof(self, pairing: Pairing) -> Place<Proof> {
        self.key.at(pairing.proof())
    }
}

/// What every callback may do with registers.
fn uses() -> Uses {
    Uses::scratch().reads(SOCK_OPS.reg()).writes([R7, R8, R9])
}

pub(in crate::dataplane) fn build(options: &Options) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [active, passive, request, rtt] = ["active", "passive", "request", "rtt"].map(|name| a.label(name));
    let [packet, written, settles] = ["packet", "written", "settles"].map(|name| a.label(name));
    let [state, recover] = ["state", "recover"].map(|name| a.label(name));
    let [out, no_storage, refused, plain] = ["out", "no_storage", "refused", "plain"].map(|name| a.label(name));
    let exits = CallbackExits { out, no_storage, refused, plain };
    a.mov(R6, R1);
    a.ld(R1, SOCK_OPS, SockOps::OP);
    a.jump_if(R1.equals(sock_ops::RTT), rtt);
    a.jump_if(R1.equals(sock_ops::ACTIVE_ESTABLISHED), active);
    a.jump_if(R1.equals(sock_ops::PASSIVE_ESTABLISHED), passive);
    a.jump_if(R1.equals(sock_ops::STATE_CHANGED), state);
    if options.announces().is_some() {
        a.jump_if(R1.equals(sock_ops::RWND_INIT), request);
    }
    if options.wakes_readers().is_some() {
        a.jump_if(R1.equals(sock_ops::HDR_OPT_LEN), packet);
        a.jump_if(R1.equals(sock_ops::WRITE_HDR_OPT), written);
    }
    for foreign in [sock_ops::RTO, sock_ops::RETRANS] {
        a.jump_if(R1.equals(foreign), recover);
    }
    a.bind(out);
    a.mov(R0, 1);
    a.exit();
    if let Some(offsets) = options.announces() {
        a.bind(request);
        syn_received(a, options, offsets, out);
    }
    a.bind(active);
    active_established(a, options, exits);
    a.bind(passive);
    passive_established(a, options, exits);
    a.bind(recover);
    foreign_callback(a, options, settles, out);
    a.bind(rtt);
    rtt_measured(a, options, [packet, settles], out);
    a.bind(state);
    state_changed(a, options, out);
    if let Some(offsets) = options.wakes_readers() {
        a.bind(written);
        wake_reader::written(a, options, offsets, settles, out);
    }

    a.bind(refused);
    count(a, Counter::MapRefused, 1);
    changes::report(a, ChangeKind::Refused, Known::State);
    a.bind(plain);
    a.comment("no peer will send past the stack to us: one that waits stays unclaimed and leaves by itself");
    a.st(OWN, Head::STATE, socket::PLAIN);
    a.goto(out);
    a.bind(no_storage);
    count(a, Counter::NoStorage, 1);
    changes::report(a, ChangeKind::NoStorage, Known::Context);
    a.goto(out);
    asm.finish()
}

/// Emits a callback that pairs.
fn callback(a: &mut Asm, name: &str, body: impl FnOnce(&mut Asm, CallbackFrame)) {
    a.emitter(name, uses(), |a| {
        let frame = CallbackFrame::new(a);
        body(a, frame);
    });
}

/// A listener in our cgroups answers a SYN (the callback that asks for its first window, `tcp_openreq_init_rwin`): if the
/// client is on this node, it will look for the record that is left here.
fn syn_received(a: &mut Asm, options: &Options, offsets: &KernelOffsets, out: Label) {
    callback(a, "request", |a, frame| {
        a.comment("a client asks for its first window too");
        a.ld(R1, SOCK_OPS, SockOps::IS_FULLSOCK);
        a.require(R1.equals(0), out, "it is a listener's request");
        require_enabled(a, out);
        if options.spares_short() && !policy::trust::names_every_port(options) {
            a.block("announces", |a, announces| {
                policy::trust::permit_named_port(a, options, announces);
                pairing::listener::require_worth(a, [announces, out]);
            });
        }
        pairing::request_key(a, offsets, frame.key.cast(), out);
        pairing::announce(a, options.pairing, offsets, frame.key, frame.record, out);
        a.goto(out);
    });
}

/// The active end enters the sockhash and leaves a record for its passive end: on probation, unless the listener has
/// announced itself.
fn active_established(a: &mut Asm, options: &Options, exits: CallbackExits) {
    let (pairing, out) = (options.pairing, exits.out);
    callback(a, "active", |a, frame| {
        let proof = frame.proof(pairing);
        require_enabled(a, out);
        policy::admit(a, options, Side::Active, out);
        pairing.nomination(a, Side::Active, frame.key);
        if let Tier::Gated(_) = options.tier {
            a.block("known_server", |a, known| {
                a.block("remote", |a, remote| {
                    if options.announces().is_some() {
                        record_lookup(a, frame.key, remote);
                        a.mov(FOUND.reg(), R0);
                    }
                    pairing::proof::seen(a, options, Side::Active, proof, remote);
                    if options.announces().is_some() {
                        pairing::require_announcement(a, proof, remote);
                    }
                    a.goto(known);
                });
                a.comment(
                    "a server that is here, and in our cgroups, would have left a record, and its answer would show it",
                );
                policy::forget_last_connection(a, options, out);
            });
        } else {
            pairing::proof::seen(a, options, Side::Active, proof, out);
        }
        a.ld(enroll::SK.reg(), SOCK_OPS, SockOps::SK);
        a.require(enroll::SK.reg().differs(0), out, "there is a socket");
        if let (Tier::Gated(offsets), Readers::NonBlocking) = (&options.tier, options.readers) {
            a.block("active_nonblocking", |a, nonblocking| {
                a.block("active_blocking", |a, blocking| {
                    let sk: Ptr<TcpSock> = offsets.behind(a, R9, enroll::SK.reg(), out);
                    file_is_nonblocking(a, offsets, sk, "own", NoFile::Refuses(out), blocking, out);
                    a.goto(nonblocking);
                });
                count(a, Counter::Blocking, 1);
                if options.announces().is_some() {
                    a.block("no_member", |a, outside| policy::forget_last_connection(a, options, outside));
                    tally::outsider(a, options, out);
                    a.goto(out);
                } else {
                    policy::forget_last_connection(a, options, out);
                }
            });
        }
        if options.announces().is_some() {
            a.mov(RECORD.reg(), FOUND.reg());
        }
        enroll::own_storage(a, options, Side::Active, exits.no_storage);
        tally::begin(a, options);
        a.st(OWN, Head::STATE, socket::WAITING);
        let words = Socket::RENDEZVOUS_KEY.items().take(options.rendezvous_key_size() as usize / 8);
        let words =
            words.enumerate().map(|(index, word)| (asm::Field::<RecordKey, RecordKey>::new(0).item(index), word));
        copy_words(a, words, frame.key, OWN);
        pairing::own_pair_key(a);
        enroll::at_once(a, options, exits.refused);
        if options.announces().is_some() {
            pairing::fill(a, pairing, RECORD, proof);
        } else {
            pairing::enter(a, pairing, frame.record, proof);
            a.guard(R0.differs(0), "one without a record leaves again", |a| {
                map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(pairing)));
                a.goto(exits.plain);
            });
        }
        callbacks::want(a, options, Side::Active);
        count(a, Counter::Enrolled, 1);
        a.goto(out);
    });
}

/// The passive end looks for its active one; when there is none, its peer is on another node and it stays out.
fn passive_established(a: &mut Asm, options: &Options, exits: CallbackExits) {
    let (pairing, out) = (options.pairing, exits.out);
    let [unfilled, unanswered] = ["unfilled", "unanswered"].map(|name| a.label(name));
    callback(a, "passive", |a, frame| {
        let proof = frame.proof(pairing);
        require_enabled(a, out);
        policy::admit(a, options, Side::Passive, out);
        pairing.nomination(a, Side::Passive, frame.key);
        if options.announces().is_none() {
            pairing::proof::seen(a, options, Side::Passive, proof, out);
        }
        record_lookup(a, frame.key, out);
        a.mov(FOUND.reg(), R0);
        if options.announces().is_some() {
            pairing::require_filled(a, unfilled);
            pairing::proof::seen(a, options, Side::Passive, proof, out);
        }
        a.ld(enroll::SK.reg(), SOCK_OPS, SockOps::SK);
        a.require(enroll::SK.reg().differs(0), out, "there is a socket");
        pairing::proof::require_listener(a, options, out);
        a.mov(RECORD.reg(), FOUND.reg());
        enroll::own_storage(a, options, Side::Passive, exits.no_storage);
        if options.tier == Tier::Sticky {
            pairing.confirm(a, exits.plain);
        }
        pairing::claim(a, options, proof, exits.plain);
        a.st(OWN, Head::STATE, socket::PAIRED);
        enroll::at_once(a, options, exits.refused);
        pairing::answer(a, pairing, frame.record.cast(), unanswered);
        set_flags(a, socket::ANSWERED);
        map_delete(a, MapRole::Rendezvous, frame.key);
        callbacks::want(a, options, Side::Passive);
        keepalive::renew_tracking(a, options);
        pairing::listener::remember(a, options);
        count(a, Counter::Paired, 1);
        changes::report(a, ChangeKind::Paired, Known::State);
        a.goto(out);
        a.bind(unanswered);
        map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(pairing)));
        a.goto(exits.refused);
        if options.announces().is_some() {
            a.bind(unfilled);
            a.comment("announced by our listener, but no active end has come, and none will");
            map_delete(a, MapRole::Rendezvous, frame.key);
            a.goto(out);
        }
    });
}

/// The state of a socket has changed, at least one that asked for this callback. Only its own FIN and its end matter, so nothing
/// is looked up for any other change.
fn state_changed(a: &mut Asm, options: &Options, out: Label) {
    let new_state = SockOps::REPLYLONG.item(0);
    a.emitter("state", uses(), |a| {
        a.ld(R1, SOCK_OPS, new_state);
        a.block("closes", |a, closes| {
            for ending in [net::TCP_FIN_WAIT1, net::TCP_LAST_ACK, net::TCP_CLOSE] {
                a.jump_if(R1.equals(ending), closes);
            }
            a.goto(out);
        });
        known_storage(a, out);
        if let Some(offsets) = options.wakes_readers() {
            a.comment("it may connect again, after connect(AF_UNSPEC)");
            window::put_back(a, offsets);
        }
        pairing::listener::closes(a, options);
        a.block("closed", |a, closed| {
            a.ld(R1, SOCK_OPS, new_state);
            a.jump_if(R1.equals(net::TCP_CLOSE), closed);
            closing::drop_state_if_read(a);
            if let Tier::Gated(offsets) = &options.tier {
                a.ld(R1, OWN, Head::STATE);
                closing::drop_callbacks(a, options, offsets, out);
            }
            a.goto(out);
        });
        a.ld(R1, OWN, Head::FLAGS);
        a.block("counts_for_no_connection", |a, other| {
            a.require(R1.any_of(socket::LOCAL), other, "its bytes count");
            tally::end(a);
            a.block("left_before", |a, left| {
                a.ld(R1, OWN, Head::STATE);
                a.jump_if(R1.equals(socket::PLAIN), left);
                changes::report(a, ChangeKind::Closed, Known::State);
            });
            a.goto(out);
        });
        a.require(R1.any_of(socket::ANSWERED), out, "it has given an answer");
        a.comment("an answer that will not be read goes when the passive end that has given it is closed");
        map_delete(a, MapRole::Pairs, OWN.at(Socket::PAIR_KEY));
        callbacks::drop_state(a);
        a.goto(out);
    });
}

/// R0 = the record under the key, or a jump to `none`.
fn record_lookup(a: &mut Asm, key: Slot<RecordKey>, none: Label) {
    a.idiom("record", Uses::scratch().gives(R0), |a| {
        map_lookup(a, MapRole::Rendezvous, key);
        a.require(R0.differs(0), none, "there is a record");
    });
}

/// A callback that another program has asked for: it may have set flags without ours.
fn foreign_callback(a: &mut Asm, options: &Options, settles: Label, out: Label) {
    a.emitter("foreign", uses(), |a| {
        known_storage(a, out);
        if let Some(offsets) = options.wakes_readers() {
            wake_reader::restore_size(a, offsets, settles);
        }
        a.require(R1.equals(socket::PAIRED), out, "it is paired");
        callbacks::recover(a, options);
        a.goto(out);
    });
}

/// A round-trip time was measured: bytes of ours have been acknowledged on the stack, so our peer's callback, if it
/// is on this node, is over. Or, at `packet`, we are sending one, which says nothing of who is still waiting.
fn rtt_measured(a: &mut Asm, options: &Options, [packet, settles]: [Label; 2], out: Label) {
    let [waiting, stay] = ["waiting", "stays"].map(|name| a.label(name));
    a.emitter("rtt", uses(), |a| {
        known_storage(a, out);
        a.jump_if(R1.equals(socket::WAITING), waiting);
        if let Some(offsets) = options.wakes_readers() {
            a.block("known", |a, known| {
                a.goto(known);
                a.bind(packet);
                wake_reader::worth_a_look(a, offsets, out);
                known_storage(a, out);
                a.require(R1.equals(socket::WAITING), known, "it waits for its peer");
                pairing::adopt(a, options, stay, stay);
                a.mov(R1, socket::PAIRED);
            });
            wake_reader::restore_size(a, offsets, settles);
        }
        a.block("unpaired", |a, unpaired| {
            a.jump_if(R1.differs(socket::PAIRED), unpaired);
            callbacks::recover(a, options);
            a.mov(R1, socket::PAIRED);
        });
        match (&options.tier, options.wakes_readers()) {
            (Tier::Gated(offsets), Some(_)) => {
                let exits = [settles, out];
                unenroll::paired(a, options, offsets, [stay, out], |a| wake_reader::after_unenroll(a, offsets, exits));
                a.bind(stay);
                wake_reader::watch(a, options, offsets, exits);
            }
            (Tier::Gated(offsets), None) => unenroll::paired(a, options, offsets, [out, out], |a| {
                callbacks::drop(a, options);
                a.goto(out);
            }),
            (Tier::Sticky, _) => a.goto(out),
        }
        a.bind(waiting);
        still_waiting(a, options, stay, out);
    });
}

/// A socket on probation has bytes acknowledged: by now its peer has claimed it, or is not here.
fn still_waiting(a: &mut Asm, options: &Options, stay: Label, out: Label) {
    let pairing = options.pairing;
    let [unanswered, lost] = ["not_answered", "lost"].map(|name| a.label(name));
    a.emitter("probation", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R8), |a| {
        pairing::adopt(a, options, unanswered, lost);
        a.goto(out);
        a.bind(unanswered);
        pairing::require_unclaimed(a, lost);
        a.comment("our peer is not on this node, or outside our cgroup: back to plain TCP");
        map_delete(a, MapRole::Rendezvous, OWN.at(Socket::RENDEZVOUS_KEY));
        map_delete(a, MapRole::Sockets, OWN.at(socket::own_key(pairing)));
        count(a, Counter::Unclaimed, 1);
        changes::report(a, ChangeKind::Unclaimed, Known::State);
        a.st(OWN, Head::STATE, socket::PLAIN);
        callbacks::drop(a, options);
        a.goto(out);
        a.bind(lost);
        a.comment("without its record we do not know whether a peer redirects to us, so then we stay, and pass");
        if options.wakes_readers().is_some() {
            a.goto(stay);
        } else {
            callbacks::drop(a, options);
            a.goto(out);
        }
    });
}
