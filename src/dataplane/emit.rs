//! Idioms both programs are written in.
//!
//! Registers, throughout: R6 the context (`kernel::ctx`), R7 this socket's own state ([`OWN`]), R8 and R9 as each program
//! says. R0 to R5 are scratch: every idiom below may lose them.

use crate::asm::Reg::{self, R0, R1, R2, R3, R4, R7, R8};
use crate::asm::{Asm, Base, Field, Label, Operand, Ptr, Regs, Uses};
use crate::dataplane::kernel::ctx;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{Head, OWN, Socket};
use crate::dataplane::state::{Counter, Counters, MapRole};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

/// Adds `amount` (an immediate, or a register other than R0 to R5) to a counter.
#[track_caller]
pub(in crate::dataplane) fn count(a: &mut Asm, counter: Counter, amount: impl Into<Operand>) {
    let amount = amount.into();
    let reads = if let Operand::Reg(reg) = amount { reg.into() } else { Regs::NONE };
    with_counters(a, reads, |a, counters| add_to(a, counters, counter, amount));
}

/// Counts a message and its `bytes`, a register other than R0 to R5.
#[track_caller]
pub(in crate::dataplane) fn count_message(a: &mut Asm, messages: Counter, counter: Counter, bytes: Reg) {
    with_counters(a, bytes.into(), |a, counters| {
        add_to(a, counters, messages, 1);
        add_to(a, counters, counter, bytes);
    });
}

/// Counts a message of `bytes` that takes the stack for the reason whose counter's offset is in `reason`; both are
/// registers other than R0 to R5.
#[track_caller]
pub(in crate::dataplane) fn count_passed(a: &mut Asm, reason: Reg, bytes: Reg) {
    with_counters(a, [reason, bytes].into(), |a, counters| {
        add_to(a, counters, Counter::PassedBytes, bytes);
        a.add(counters.reg(), reason);
        a.mov(R1, 1);
        // From here on it points to one counter, the first of those that are left.
        a.atomic_add(counters, Field::<Counters, u64>::new(0), R1);
    });
}

/// Emits `add` with this CPU's counters, in R0; goes on without where there are none.
#[track_caller]
fn with_counters(a: &mut Asm, reads: Regs, add: impl FnOnce(&mut Asm, Ptr<Counters>)) {
    a.idiom("count", Uses::scratch().reads(reads), |a| {
        a.block("counted", |a, done| {
            let key = a.slot::<u32>("key");
            a.set(key, 0);
            a.addr(R2, key);
            a.load_map(R1, MapRole::Counters.map_ref());
            a.call(helper::MAP_LOOKUP_ELEM);
            a.require(R0.differs(0), done, "there are counters");
            add(a, Ptr::new(R0));
        });
    });
}

#[track_caller]
fn add_to(a: &mut Asm, counters: Ptr<Counters>, counter: Counter, amount: impl Into<Operand>) {
    let amount = amount.into();
    let reads = if let Operand::Reg(reg) = amount { counters.regs() | Regs::from(reg) } else { counters.regs() };
    a.idiom("add", Uses::nothing().reads(reads).writes(R1), |a| {
        a.mov(R1, amount);
        a.atomic_add(counters, counter.field(), R1);
    });
}

/// R0 = the storage of the socket in `sk`, or null. Creates it when `create` is set.
#[track_caller]
pub(in crate::dataplane) fn storage_get(a: &mut Asm, sk: Reg, create: bool) -> Ptr<Socket> {
    a.idiom("storage", Uses::scratch().reads(sk).gives(R0), |a| {
        a.mov(R2, sk);
        a.load_map(R1, MapRole::Storage.map_ref());
        a.mov(R3, 0);
        a.mov(R4, if create { flags::STORAGE_CREATE } else { 0 });
        a.call(helper::SK_STORAGE_GET);
    });
    Ptr::new(R0)
}

/// R7 = the storage that this socket has, R1 = its state; goes to `out` when it has none. The context is that of a sock_ops
/// program; uses R8.
#[track_caller]
pub(in crate::dataplane) fn known_storage(a: &mut Asm, out: Label) {
    a.idiom("known_storage", Uses::scratch().reads(ctx::SOCK_OPS.reg()).gives([R7, R1]).writes(R8), |a| {
        a.ld(R8, ctx::SOCK_OPS, ctx::SockOps::SK);
        a.require(R8.differs(0), out, "there is a socket");
        storage_get(a, R8, false);
        a.require(R0.differs(0), out, "it has a storage");
        a.mov(R7, R0);
        a.ld(R1, OWN, Head::STATE);
    });
}

/// Deletes what the map holds under the key.
#[track_caller]
pub(in crate::dataplane) fn map_delete<B: Base>(a: &mut Asm, map: MapRole, key: B) {
    a.idiom("map_delete", Uses::scratch().reads(key.regs()), |a| {
        a.addr(R2, key);
        a.load_map(R1, map.map_ref());
        a.call(helper::MAP_DELETE_ELEM);
    });
}

/// R0 = what the map holds under the key, or null.
#[track_caller]
pub(in crate::dataplane) fn map_lookup<B: Base>(a: &mut Asm, map: MapRole, key: B) {
    a.idiom("map_lookup", Uses::scratch().reads(key.regs()).gives(R0), |a| {
        a.addr(R2, key);
        a.load_map(R1, map.map_ref());
        a.call(helper::MAP_LOOKUP_ELEM);
    });
}

/// `dst` = a number of the configuration.
#[track_caller]
pub(in crate::dataplane) fn config(a: &mut Asm, dst: Reg, field: Field<Value, u32>) {
    a.idiom("config", Uses::nothing().gives(dst), |a| {
        a.load_map_value(dst, MapRole::Config.map_ref(), field.offset() as u32);
        a.get(dst, Ptr::<u32>::new(dst));
    });
}

/// `dst` = the address of the configuration.
#[track_caller]
pub(in crate::dataplane) fn config_at(a: &mut Asm, dst: Reg) -> Ptr<Value> {
    a.idiom("config", Uses::nothing().gives(dst), |a| a.load_map_value(dst, MapRole::Config.map_ref(), 0));
    Ptr::new(dst)
}

/// Goes on when the soft switch is on, else to `off`.
#[track_caller]
pub(in crate::dataplane) fn require_enabled(a: &mut Asm, off: Label) {
    a.idiom("switch", Uses::scratch(), |a| {
        config(a, R1, Value::ENABLED);
        a.require(R1.differs(0), off, "it is on");
    });
}

/// Sets bits in our own flags. Loses R1.
#[track_caller]
pub(in crate::dataplane) fn set_flags(a: &mut Asm, flags: i32) {
    a.idiom("set_flags", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.or(R1, flags);
        a.st(OWN, Head::FLAGS, R1);
    });
}

/// Clears bits in our own flags. Loses R1.
#[track_caller]
pub(in crate::dataplane) fn clear_flags(a: &mut Asm, flags: i32) {
    a.idiom("clear_flags", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
        a.ld(R1, OWN, Head::FLAGS);
        a.and(R1, !flags);
        a.st(OWN, Head::FLAGS, R1);
    });
}

/// Copies words from one place to another, one after the other, by way of R1.
#[track_caller]
pub(in crate::dataplane) fn copy_words<F: Base, T: Base>(
    a: &mut Asm,
    words: impl IntoIterator<Item = (Field<F::Object, u64>, Field<T::Object, u64>)>,
    from: F,
    to: T,
) {
    a.idiom("copy", Uses::nothing().reads(from.regs() | to.regs()).writes(R1), |a| {
        for (source, target) in words {
            a.ld(R1, from, source);
            a.st(to, target, R1);
        }
    });
}

/// Writes zeros over the first `words` of an object.
#[track_caller]
pub(in crate::dataplane) fn clear<B: Base>(a: &mut Asm, words: impl IntoIterator<Item = Field<B::Object, u64>>, at: B) {
    a.idiom("clear", Uses::nothing().reads(at.regs()), |a| {
        for word in words {
            a.st(at, word, 0);
        }
    });
}
