//! The record in the rendezvous map: written by the active end, claimed and completed by the passive one, adopted by
//! the active one. `state::record` draws it.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R8, R9};
use crate::asm::{Asm, Base, Field, Label, Ptr, Slot, Uses};
use crate::dataplane::emit::{clear, map_delete, map_lookup};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::options::Pairing;
use crate::dataplane::state::MapRole;
use crate::dataplane::state::record::{Half, Record, RecordKey};
use crate::dataplane::state::socket::{self, FourTuple, Head, OWN, Socket};
use crate::uapi::helper::id as helper;

/// The record, while a program looks at one in the map.
pub(in crate::dataplane) const RECORD: Ptr<Record> = Ptr::new(R9);

/// Where a record speaks of one end.
#[derive(Clone, Copy)]
struct End {
    half: Field<Record, Half>,
    key: Field<Record, FourTuple>,
}

const CLIENT: End = End { half: Record::CLIENT, key: Record::CLIENT_KEY };
const SERVER: End = End { half: Record::SERVER, key: Record::SERVER_KEY };

impl End {
    const fn cookie(self) -> Field<Record, u64> {
        self.half.then(Half::COOKIE)
    }

    const fn check(self) -> Field<Record, u64> {
        self.half.then(Half::CHECK)
    }

    /// The words of its key, where one is kept.
    fn key_words(self, pairing: Pairing) -> impl Iterator<Item = Field<Record, u64>> {
        let kept = if pairing == Pairing::FourTuple { usize::MAX } else { 0 };
        self.key.then(FourTuple::WORDS).items().take(kept)
    }

    /// Cookie, socket, storage and key: the words that its check vouches for.
    fn words(self, pairing: Pairing) -> impl Iterator<Item = Field<Record, u64>> {
        let fixed = [self.cookie(), self.half.then(Half::SK).cast(), self.half.then(Half::STORAGE).cast()];
        fixed.into_iter().chain(self.key_words(pairing))
    }
}

/// Copies our own socket, storage and key into one half of the record. Loses R1.
#[track_caller]
fn store_half<B: Base<Object = Record>>(a: &mut Asm, pairing: Pairing, record: B, end: End) {
    let fixed = [Socket::OWN_SK.cast(), Socket::OWN_STORAGE.cast()].into_iter();
    let ours = fixed.chain(Socket::OWN_KEY.then(FourTuple::WORDS).items());
    for (theirs, ours) in end.words(pairing).skip(1).zip(ours) {
        a.ld(R1, OWN, ours);
        a.st(record, theirs, R1);
    }
}

/// Listener: enters an empty record, built at `record`, under the key; R0 is the result.
#[track_caller]
pub(in crate::dataplane) fn announce(a: &mut Asm, pairing: Pairing, key: Slot<RecordKey>, record: Slot<Record>) {
    a.emitter("announce", Uses::scratch().gives(R0), |a| {
        a.comment("the record by which the active end will know that we are here");
        empty(a, pairing, record);
        update(a, key, record);
    });
}

fn empty(a: &mut Asm, pairing: Pairing, record: Slot<Record>) {
    clear(a, Record::WORDS.items().take(pairing.record_size() as usize / 8), record);
}

/// Active end: fills in the record from our storage.
#[track_caller]
pub(in crate::dataplane) fn fill<B: Base<Object = Record>>(a: &mut Asm, pairing: Pairing, record: B) {
    let uses = Uses::nothing().reads(SOCK_OPS.regs() | OWN.regs() | record.regs()).writes([R1, R2, R3]);
    a.emitter("fill", uses, |a| {
        a.comment("the record by which the passive end will find us");
        a.st(record, SERVER.cookie(), 0);
        a.ld(R1, OWN, Head::COOKIE);
        a.st(record, CLIENT.cookie(), R1);
        store_half(a, pairing, record, CLIENT);
        if pairing == Pairing::FourTuple {
            a.ld(R1, SOCK_OPS, SockOps::SND_NXT);
            a.st(record, Record::SND_NXT, R1);
            a.ld(R1, SOCK_OPS, SockOps::RCV_NXT);
            a.st(record, Record::RCV_NXT, R1);
        }
        a.addr(R3, record);
        if !record.regs().is_empty() {
            a.add(R3, 0);
        }
        a.mov(R1, 0);
        for word in CLIENT.words(pairing) {
            a.ld(R2, Ptr::<Record>::new(R3), word);
            a.xor(R1, R2);
        }
        a.st(record, CLIENT.check(), R1);
    });
}

/// Active end that was not announced: builds the record and enters it; R0 is the result.
#[track_caller]
pub(in crate::dataplane) fn enter(a: &mut Asm, pairing: Pairing, record: Slot<Record>) {
    a.emitter("enter", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).gives(R0), |a| {
        empty(a, pairing, record);
        fill(a, pairing, record);
        update(a, OWN.at(Socket::RENDEZVOUS_KEY), record);
    });
}

/// Enters the record under the key; R0 is the result.
#[track_caller]
fn update<K: Base>(a: &mut Asm, key: K, record: Slot<Record>) {
    a.idiom("map_update", Uses::scratch().reads(key.regs()).gives(R0), |a| {
        a.addr(R2, key);
        a.addr(R3, record);
        a.load_map(R1, MapRole::Rendezvous.map_ref());
        a.mov(R4, 0);
        a.call(helper::MAP_UPDATE_ELEM);
    });
}

/// Passive end: jumps to `no` when no active end has filled in the record.
#[track_caller]
pub(in crate::dataplane) fn require_filled(a: &mut Asm, no: Label) {
    a.emitter("record", Uses::nothing().reads(RECORD.reg()).writes(R1), |a| {
        a.ld(R1, RECORD, CLIENT.cookie());
        a.require(R1.differs(0), no, "an active end has filled it in");
    });
}

/// Passive end: copies the client's half of the record into our storage, or jumps to `no` when it is taken or does not
/// verify.
#[track_caller]
pub(in crate::dataplane) fn claim(a: &mut Asm, pairing: Pairing, no: Label) {
    a.emitter("claim", Uses::nothing().reads([OWN.reg(), RECORD.reg()]).writes([R1, R3]), |a| {
        a.ld(R1, RECORD, SERVER.cookie());
        a.require(R1.equals(0), no, "it is not claimed yet");
        take_half(a, pairing, RECORD, CLIENT, None, no);
    });
}

/// Passive end: adds our half to the record, the cookie last: the client looks for it first.
#[track_caller]
pub(in crate::dataplane) fn publish(a: &mut Asm, pairing: Pairing) {
    a.emitter("publish", Uses::nothing().reads([OWN.reg(), RECORD.reg()]).writes([R1, R2, R8]), |a| {
        a.comment("publish ourselves to the active end");
        store_half(a, pairing, RECORD, SERVER);
        a.ld(R8, OWN, Head::COOKIE);
        a.ld(R1, OWN, Socket::PEER_COOKIE);
        a.xor(R1, R8);
        for word in SERVER.words(pairing).skip(1) {
            a.ld(R2, RECORD, word);
            a.xor(R1, R2);
        }
        a.st(RECORD, SERVER.check(), R1);
        a.st(RECORD, SERVER.cookie(), R8);
    });
}

/// Active end: takes its peer from the record, if it has been claimed, and becomes [`socket::PAIRED`]; else jumps to
/// `unclaimed`, or to `lost` when there is no such record any more.
#[track_caller]
pub(in crate::dataplane) fn adopt(a: &mut Asm, pairing: Pairing, unclaimed: Label, lost: Label) {
    let record = Ptr::<Record>::new(R8);
    a.emitter("adopt", Uses::scratch().reads(OWN.reg()).writes(record.reg()), |a| {
        a.comment("has the passive end claimed us?");
        map_lookup(a, MapRole::Rendezvous, OWN.at(Socket::RENDEZVOUS_KEY));
        a.require(R0.differs(0), lost, "there is a record");
        a.mov(record.reg(), R0);
        a.ld(R1, record, CLIENT.cookie());
        a.ld(R2, OWN, Head::COOKIE);
        a.require(R1.equals(R2), lost, "it is ours");
        a.ld(R1, record, SERVER.cookie());
        a.require(R1.differs(0), unclaimed, "it is claimed");
        take_half(a, pairing, record, SERVER, Some(Socket::HEAD.then(Head::COOKIE)), lost);
        a.st(OWN, Head::STATE, socket::PAIRED);
        map_delete(a, MapRole::Rendezvous, Socket::RENDEZVOUS_KEY);
    });
}

/// Copies one half of `record` into the peer's place in our storage and verifies what was copied, so that a
/// record that changes meanwhile cannot slip through. The server's half is bound to the cookie at `bound_to`.
#[track_caller]
fn take_half(
    a: &mut Asm,
    pairing: Pairing,
    record: Ptr<Record>,
    end: End,
    bound_to: Option<Field<Socket, u64>>,
    no: Label,
) {
    let fixed = [Socket::PEER_COOKIE, Socket::PEER_SK.cast(), Socket::PEER_STORAGE.cast()].into_iter();
    let targets = fixed.chain(Socket::PEER_KEY.then(FourTuple::WORDS).items());
    match bound_to {
        Some(own) => a.ld(R3, OWN, own),
        None => a.mov(R3, 0),
    }
    for (from, to) in end.words(pairing).zip(targets) {
        a.ld(R1, record, from);
        a.st(OWN, to, R1);
        a.xor(R3, R1);
    }
    a.ld(R1, record, end.check());
    a.require(R1.equals(R3), no, "its half is whole");
}
