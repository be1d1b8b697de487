//! What the two ends leave for each other in maps: the record of the active end, and the answer of the passive one.
//! `state::record` draws both.

use crate::asm::Reg::{self, R0, R1, R2, R3, R4, R8, R9};
use crate::asm::{Asm, Base, Field, Label, Place, Ptr, Regs, Slot, Uses};
use crate::dataplane::emit::{clear, map_delete, map_lookup, set_flags};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::Request;
use crate::dataplane::options::{Options, Pairing};
use crate::dataplane::state::MapRole;
use crate::dataplane::state::record::{Answer, Proof, Record, RecordKey};
use crate::dataplane::state::socket::{self, FourTuple, Head, Numbers, OWN, PairKey, Socket};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

/// The record, while a program looks at one in the map.
pub(in crate::dataplane) const RECORD: Ptr<Record> = Ptr::new(R9);
/// The same, until our own state takes its register.
pub(in crate::dataplane) const FOUND: Ptr<Record> = Ptr::new(OWN.reg());

/// The mark of the passive end in a record.
const PASSIVE_MARK: Field<Record, u32> = Record::PROOF.then(Proof::PASSIVE_MARK);

/// The words of a key, where one is kept.
fn key_words<S>(pairing: Pairing, key: Field<S, FourTuple>) -> impl Iterator<Item = Field<S, u64>> {
    let kept = if pairing == Pairing::FourTuple { usize::MAX } else { 0 };
    key.then(FourTuple::WORDS).items().take(kept)
}

/// The words of a record that its check vouches for.
fn record_words(pairing: Pairing) -> impl Iterator<Item = Field<Record, u64>> {
    let fixed = [
        Record::COOKIE,
        Record::SK.cast(),
        Record::STORAGE.cast(),
        Record::NUMBERS.then(Numbers::WORD),
        Record::PROOF.then(Proof::WORD),
    ];
    fixed.into_iter().chain(key_words(pairing, Record::KEY))
}

/// The words of an answer that its check vouches for.
fn answer_words(pairing: Pairing) -> impl Iterator<Item = Field<Answer, u64>> {
    let fixed = [Answer::COOKIE, Answer::SK.cast(), Answer::STORAGE.cast()];
    fixed.into_iter().chain(key_words(pairing, Answer::KEY))
}

/// Our own particulars: cookie, socket, storage and key.
fn own_words(pairing: Pairing) -> impl Iterator<Item = Field<Socket, u64>> {
    let fixed = [Socket::HEAD.then(Head::COOKIE), Socket::OWN_SK.cast(), Socket::OWN_STORAGE.cast()];
    fixed.into_iter().chain(key_words(pairing, Socket::OWN_KEY))
}

/// What a checksum is multiplied by for each word: 2^32 divided by the golden ratio, odd (Knuth, The Art of Computer
/// Programming, 6.4). Cookies and addresses of two connections often differ in the same bits, which an exclusive or would
/// not see.
const FACTOR: i32 = 0x9e37_79b1_u32.cast_signed();

/// R1 = the checksum of words, which begins with the word at `bound_to` of our own state.
#[track_caller]
fn checksum<B: Base>(
    a: &mut Asm,
    base: B,
    words: impl Iterator<Item = Field<B::Object, u64>>,
    bound_to: Option<Field<Socket, u64>>,
) {
    let own = bound_to.map_or(Regs::NONE, |_| OWN.reg().into());
    a.idiom("checksum", Uses::nothing().reads(base.regs()).reads(own).gives(R1).writes(R2), |a| {
        begin_checksum(a, R1, bound_to);
        for word in words {
            a.ld(R2, base, word);
            add_to_checksum(a, R1, R2);
        }
    });
}

/// `sum` = the checksum of that word alone, or of none.
fn begin_checksum(a: &mut Asm, sum: Reg, bound_to: Option<Field<Socket, u64>>) {
    a.idiom("checksum", Uses::nothing().reads(OWN.reg()).gives(sum), |a| match bound_to {
        Some(own) => {
            a.ld(sum, OWN, own);
            a.mul(sum, FACTOR);
        }
        None => a.mov(sum, 0),
    });
}

fn add_to_checksum(a: &mut Asm, sum: Reg, word: Reg) {
    a.idiom("checksum", Uses::nothing().reads([sum, word]).gives(sum), |a| {
        a.xor(sum, word);
        a.mul(sum, FACTOR);
    });
}

/// Listener: enters an empty record, built at `record`, under the key. The number with which the listener marks its SYN-ACK
/// is in it; R9 is the request.
#[track_caller]
pub(in crate::dataplane) fn announce(
    a: &mut Asm,
    pairing: Pairing,
    offsets: &KernelOffsets,
    key: Slot<RecordKey>,
    record: Slot<Record>,
    out: Label,
) {
    let request = Ptr::<Request>::new(R9);
    a.emitter("announce", Uses::scratch().reads(request.reg()), |a| {
        a.comment("the record by which the active end will know that we are here");
        clear(a, Record::WORDS.items().take(pairing.record_size() as usize / 8), record);
        offsets.read(a, R1, request, offsets.request_hash, out);
        a.st(record, PASSIVE_MARK, R1);
        update(a, MapRole::Rendezvous, key, record);
    });
}

/// Active end: goes on when the announcement that was found is that of our listener, and still empty; else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require_announcement(a: &mut Asm, proof: Place<Proof>, no: Label) {
    a.emitter("announcement", Uses::nothing().reads(FOUND.reg()).writes([R1, R2]), |a| {
        a.ld(R1, FOUND, PASSIVE_MARK);
        a.ld(R2, proof, Proof::PASSIVE_MARK);
        a.require(R1.w().equals(R2), no, "we have received this listener's answer");
        a.ld(R1, FOUND, Record::COOKIE);
        a.require(R1.equals(0), no, "no other socket has filled it in");
    });
}

/// Active end: fills in the record from our storage and the proof.
#[track_caller]
pub(in crate::dataplane) fn fill<B: Base<Object = Record>>(
    a: &mut Asm,
    pairing: Pairing,
    record: B,
    proof: Place<Proof>,
) {
    let uses = Uses::nothing().reads(OWN.regs() | record.regs()).writes([R1, R2]);
    a.emitter("fill", uses, |a| {
        a.comment("the record by which the passive end will find us");
        let particulars = record_words(pairing).take(3).chain(key_words(pairing, Record::KEY));
        for (theirs, ours) in particulars.zip(own_words(pairing)) {
            a.ld(R1, OWN, ours);
            a.st(record, theirs, R1);
        }
        a.ld(R1, OWN, Socket::PAIR_KEY.then(PairKey::NUMBERS).then(Numbers::WORD));
        a.st(record, Record::NUMBERS.then(Numbers::WORD), R1);
        a.ld(R1, proof, Proof::WORD);
        a.st(record, Record::PROOF.then(Proof::WORD), R1);
        checksum(a, record, record_words(pairing), None);
        a.st(record, Record::CHECK, R1);
    });
}

/// Active end that was not announced: builds the record and enters it; R0 is the result.
#[track_caller]
pub(in crate::dataplane) fn enter(a: &mut Asm, pairing: Pairing, record: Slot<Record>, proof: Place<Proof>) {
    a.emitter("enter", Uses::scratch().reads(OWN.reg()).gives(R0), |a| {
        fill(a, pairing, record, proof);
        update(a, MapRole::Rendezvous, OWN.at(Socket::RENDEZVOUS_KEY), record);
    });
}

/// Active end: writes the key of its pair into its storage.
#[track_caller]
pub(in crate::dataplane) fn own_pair_key(a: &mut Asm) {
    let key = OWN.at(Socket::PAIR_KEY);
    a.idiom("pair_key", Uses::nothing().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R1), |a| {
        a.ld(R1, OWN, Head::COOKIE);
        a.st(key, PairKey::CLIENT, R1);
        for (number, place) in [(SockOps::SND_NXT, Numbers::SND_NXT), (SockOps::RCV_NXT, Numbers::RCV_NXT)] {
            a.ld(R1, SOCK_OPS, number);
            a.st(key, PairKey::NUMBERS.then(place), R1);
        }
    });
}

/// Enters the value under the key, unless there is one; R0 is the result.
#[track_caller]
fn update<K: Base, V: Base>(a: &mut Asm, map: MapRole, key: K, value: V) {
    a.idiom("map_update", Uses::scratch().reads(key.regs()).gives(R0), |a| {
        a.addr(R2, key);
        a.addr(R3, value);
        a.load_map(R1, map.map_ref());
        a.mov(R4, flags::NOEXIST);
        a.call(helper::MAP_UPDATE_ELEM);
    });
}

/// Passive end: goes on when an active end has filled in the record that was found, else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require_filled(a: &mut Asm, no: Label) {
    a.emitter("record", Uses::nothing().reads(FOUND.reg()).writes(R1), |a| {
        a.ld(R1, FOUND, Record::COOKIE);
        a.require(R1.differs(0), no, "an active end has filled it in");
    });
}

/// Passive end: copies the record into our storage and verifies what was copied, so that a record that changes meanwhile
/// cannot slip through; jumps to `no` when it does not verify, or when its proof is not ours.
#[track_caller]
pub(in crate::dataplane) fn claim(a: &mut Asm, options: &Options, proof: Place<Proof>, no: Label) {
    let pairing = options.pairing;
    let key = Socket::PAIR_KEY;
    // The proof waits where the client's cookie will stand.
    let copied = key.then(PairKey::CLIENT).cast::<Proof>();
    a.emitter("claim", Uses::nothing().reads([OWN.reg(), RECORD.reg()]).writes([R1, R2, R3]), |a| {
        let targets = peer_words(pairing).take(3).chain([key.then(PairKey::NUMBERS).then(Numbers::WORD)]);
        let targets = targets.chain([copied.then(Proof::WORD)]).chain(key_words(pairing, Socket::PEER_KEY));
        copy(a, RECORD, record_words(pairing), targets, None);
        a.ld(R1, RECORD, Record::CHECK);
        a.require(R1.equals(R3), no, "it is whole");
        if options.announces().is_some() {
            a.ld(R1, OWN, copied.then(Proof::ACTIVE_MARK));
            a.ld(R2, proof, Proof::ACTIVE_MARK);
            a.require(R1.w().equals(R2), no, "we have received a packet of the socket that has filled it in");
        }
        a.ld(R1, OWN, Socket::PEER_COOKIE);
        a.st(OWN, key.then(PairKey::CLIENT), R1);
    });
}

/// Passive end: answers the active end, by way of `room`, or jumps to `failed`.
#[track_caller]
pub(in crate::dataplane) fn answer(a: &mut Asm, pairing: Pairing, room: Place<Answer>, failed: Label) {
    a.emitter("answer", Uses::scratch().reads(OWN.reg()), |a| {
        a.comment("the answer by which the active end will find us");
        for (theirs, ours) in answer_words(pairing).zip(own_words(pairing)) {
            a.ld(R1, OWN, ours);
            a.st(room, theirs, R1);
        }
        checksum(a, room, answer_words(pairing), Some(Socket::PEER_COOKIE));
        a.st(room, Answer::CHECK, R1);
        update(a, MapRole::Pairs, OWN.at(Socket::PAIR_KEY), room);
        a.require(R0.equals(0), failed, "the map has room");
    });
}

/// Active end: takes its peer from the answer and becomes [`socket::PAIRED`]; else jumps to `none`, or to `torn` when the
/// answer does not verify.
#[track_caller]
pub(in crate::dataplane) fn adopt(a: &mut Asm, options: &Options, none: Label, torn: Label) {
    let pairing = options.pairing;
    let answer = Ptr::<Answer>::new(R8);
    a.emitter("adopt", Uses::scratch().reads(OWN.reg()).writes(answer.reg()), |a| {
        a.comment("has the passive end answered?");
        map_lookup(a, MapRole::Pairs, OWN.at(Socket::PAIR_KEY));
        a.require(R0.differs(0), none, "there is an answer");
        a.mov(answer.reg(), R0);
        copy(a, answer, answer_words(pairing), peer_words(pairing), Some(Socket::HEAD.then(Head::COOKIE)));
        a.ld(R1, answer, Answer::CHECK);
        a.require(R1.equals(R3), torn, "it is whole, and for us");
        a.st(OWN, Head::STATE, socket::PAIRED);
        if !options.policy.uncounted {
            set_flags(a, socket::LOCAL);
        }
        map_delete(a, MapRole::Pairs, OWN.at(Socket::PAIR_KEY));
    });
}

/// Active end without an answer: goes on when its record still waits, so that no passive end has claimed it; else to `lost`.
#[track_caller]
pub(in crate::dataplane) fn require_unclaimed(a: &mut Asm, lost: Label) {
    a.emitter("unclaimed", Uses::scratch().reads(OWN.reg()), |a| {
        a.comment("has the passive end claimed us?");
        map_lookup(a, MapRole::Rendezvous, OWN.at(Socket::RENDEZVOUS_KEY));
        a.require(R0.differs(0), lost, "the record is there");
        a.ld(R1, Ptr::<Record>::new(R0), Record::COOKIE);
        a.ld(R2, OWN, Head::COOKIE);
        a.require(R1.equals(R2), lost, "it is ours");
    });
}

/// Where a socket keeps its peer's particulars.
fn peer_words(pairing: Pairing) -> impl Iterator<Item = Field<Socket, u64>> {
    let fixed = [Socket::PEER_COOKIE, Socket::PEER_SK.cast(), Socket::PEER_STORAGE.cast()];
    fixed.into_iter().chain(key_words(pairing, Socket::PEER_KEY))
}

/// Copies words of `from` into our storage. R3 = their checksum, which begins with the word at `bound_to`. Loses R1.
#[track_caller]
fn copy<S>(
    a: &mut Asm,
    from: Ptr<S>,
    words: impl Iterator<Item = Field<S, u64>>,
    targets: impl Iterator<Item = Field<Socket, u64>>,
    bound_to: Option<Field<Socket, u64>>,
) {
    a.idiom("copy", Uses::nothing().reads([from.reg(), OWN.reg()]).gives(R3).writes(R1), |a| {
        begin_checksum(a, R3, bound_to);
        for (word, target) in words.zip(targets) {
            a.ld(R1, from, word);
            a.st(OWN, target, R1);
            add_to_checksum(a, R3, R1);
        }
    });
}
