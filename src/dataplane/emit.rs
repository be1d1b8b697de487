//! Idioms both programs are written in.
//!
//! Registers, throughout: R6 the context, R7 this socket's storage, R8 and R9 as each program says; R0 to R5 are
//! scratch and lost in every idiom below.

use crate::asm::Reg::{self, R0, R1, R2, R3, R4, R6, R7, R8};
use crate::asm::{Asm, AtomicOp, Cond, FP, Label, Operand, Size};
use crate::dataplane::kernel::probe::PROBE_SLOT;
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::ctx::sock_ops;
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

/// Adds `amount` (an immediate, or a register other than R0 to R5) to a counter.
#[track_caller]
pub(in crate::dataplane) fn count(a: &mut Asm, counter: Counter, amount: impl Into<Operand>) {
    let done = own_counters(a);
    add_to(a, counter, amount);
    a.bind(done);
}

/// Counts a message and its `bytes`, a register other than R0 to R5.
#[track_caller]
pub(in crate::dataplane) fn count_message(a: &mut Asm, messages: Counter, counter: Counter, bytes: Reg) {
    let done = own_counters(a);
    add_to(a, messages, 1);
    add_to(a, counter, bytes);
    a.bind(done);
}

/// Counts a message of `bytes` that takes the stack for the reason whose counter's offset is in `reason`; both are
/// registers other than R0 to R5.
#[track_caller]
pub(in crate::dataplane) fn count_passed(a: &mut Asm, reason: Reg, bytes: Reg) {
    let done = own_counters(a);
    add_to(a, Counter::PassedBytes, bytes);
    a.add(R0, reason);
    a.mov(R1, 1);
    a.atomic(AtomicOp::Add { fetch: false }, Size::DW, R0, 0, R1);
    a.bind(done);
}

/// R0 = this CPU's counters; the answer is where to go on without.
#[track_caller]
fn own_counters(a: &mut Asm) -> Label {
    let done = a.label("counted");
    a.store(Size::W, FP, PROBE_SLOT, 0);
    a.mov(R2, FP);
    a.add(R2, i32::from(PROBE_SLOT));
    a.load_map(R1, MapRole::Counters.map_ref());
    a.call(helper::MAP_LOOKUP_ELEM);
    a.jump(Cond::Eq, R0, 0, done);
    done
}

#[track_caller]
fn add_to(a: &mut Asm, counter: Counter, amount: impl Into<Operand>) {
    a.mov(R1, amount);
    a.atomic(AtomicOp::Add { fetch: false }, Size::DW, R0, counter.offset(), R1);
}

/// R0 = the storage of the socket in `sk`, or null. Creates it when `create` is set.
#[track_caller]
pub(in crate::dataplane) fn storage_get(a: &mut Asm, sk: Reg, create: bool) {
    a.mov(R2, sk);
    a.load_map(R1, MapRole::Storage.map_ref());
    a.mov(R3, 0);
    a.mov(R4, if create { flags::STORAGE_CREATE } else { 0 });
    a.call(helper::SK_STORAGE_GET);
}

/// R7 = the storage that this socket has, R1 = its state; goes to `out` when it has none. R6 is a sock_ops context; uses R8.
pub(in crate::dataplane) fn known_storage(a: &mut Asm, out: Label) {
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    storage_get(a, R8, false);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    a.load(Size::W, R1, R7, socket::STATE);
}

/// Deletes the entry of `map` whose key is at `base + offset`.
#[track_caller]
pub(in crate::dataplane) fn map_delete(a: &mut Asm, map: MapRole, base: Reg, offset: i16) {
    a.mov(R2, base);
    a.add(R2, i32::from(offset));
    a.load_map(R1, map.map_ref());
    a.call(helper::MAP_DELETE_ELEM);
}

/// Jumps to `off` when the soft switch is off.
#[track_caller]
pub(in crate::dataplane) fn require_enabled(a: &mut Asm, off: Label) {
    a.load_map_value(R1, MapRole::Config.map_ref(), Config::ENABLED as u32);
    a.load(Size::W, R1, R1, 0);
    a.jump(Cond::Eq, R1, 0, off);
}

/// Sets bits in the storage's flags.
#[track_caller]
pub(in crate::dataplane) fn set_flags(a: &mut Asm, flags: i32) {
    a.load(Size::W, R1, Reg::R7, socket::FLAGS);
    a.or(R1, flags);
    a.store(Size::W, Reg::R7, socket::FLAGS, R1);
}
