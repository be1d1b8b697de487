//! Idioms both programs are written in.
//!
//! Registers, throughout: R6 the context, R7 this socket's storage, R8 and R9 as each program says; R0 to R5 are
//! scratch and lost in every idiom below.

use super::counters::Counter;
use super::ctx::sock_ops;
use super::maps::MapRole;
use super::{helper, storage};
use crate::asm::Reg::{self, R0, R1, R2, R3, R4, R6, R7, R8};
use crate::asm::{Asm, AtomicOp, Cond, FP, Label, Operand, Size};

/// Stack bytes [`probe`] reads into, as many as the head of a storage has.
pub(super) const PROBE_SLOT: i16 = -super::storage::HEAD_SIZE;

/// Stack place of the pointer [`number_of`] copies.
const POINTER_SLOT: i16 = PROBE_SLOT - 8;

/// First stack byte that the idioms leave alone; a program's own slots lie below it.
pub(super) const SLOTS_END: i16 = POINTER_SLOT;

/// `dst = *(size *)(base + offset)` in kernel memory, or a jump to `fail`. `base` holds a number, not a pointer.
#[track_caller]
pub(super) fn probe(a: &mut Asm, dst: Reg, size: Size, base: Reg, offset: i32, fail: Label) {
    let bytes = match size {
        Size::B => 1,
        Size::H => 2,
        Size::W => 4,
        Size::DW => 8,
    };
    probe_bytes(a, bytes, base, offset, fail);
    a.load(size, dst, FP, PROBE_SLOT);
}

/// Copies `bytes` (at most 24) of kernel memory at `base + offset` to [`PROBE_SLOT`], or jumps to `fail`.
#[track_caller]
pub(super) fn probe_bytes(a: &mut Asm, bytes: i32, base: Reg, offset: i32, fail: Label) {
    a.mov(R3, base);
    if offset != 0 {
        a.add(R3, offset);
    }
    a.mov(R1, FP);
    a.add(R1, i32::from(PROBE_SLOT));
    a.mov(R2, bytes);
    a.call(helper::PROBE_READ_KERNEL);
    a.jump(Cond::Ne, R0, 0, fail);
}

/// Adds `amount` (an immediate, or a register other than R0 to R5) to a counter.
#[track_caller]
pub(super) fn count(a: &mut Asm, counter: Counter, amount: impl Into<Operand>) {
    let done = own_counters(a);
    add_to(a, counter, amount);
    a.bind(done);
}

/// Counts a message and its `bytes`, a register other than R0 to R5.
#[track_caller]
pub(super) fn count_message(a: &mut Asm, messages: Counter, counter: Counter, bytes: Reg) {
    let done = own_counters(a);
    add_to(a, messages, 1);
    add_to(a, counter, bytes);
    a.bind(done);
}

/// Counts a message of `bytes` that takes the stack for the reason whose counter's offset is in `reason`; both are
/// registers other than R0 to R5.
#[track_caller]
pub(super) fn count_passed(a: &mut Asm, reason: Reg, bytes: Reg) {
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

/// `dst` = the address in the pointer register `pointer`, as a number: programs may not calculate with a socket
/// pointer, but the bytes of one on the stack are a number once they have been copied.
#[track_caller]
pub(super) fn number_of(a: &mut Asm, dst: Reg, pointer: Reg, fail: Label) {
    a.store(Size::DW, FP, POINTER_SLOT, pointer);
    a.mov(R1, FP);
    a.add(R1, i32::from(PROBE_SLOT));
    a.mov(R2, 8);
    a.mov(R3, FP);
    a.add(R3, i32::from(POINTER_SLOT));
    a.call(helper::PROBE_READ_KERNEL);
    a.jump(Cond::Ne, R0, 0, fail);
    a.load(Size::DW, dst, FP, PROBE_SLOT);
}

/// R0 = the storage of the socket in `sk`, or null. Creates it when `create` is set.
#[track_caller]
pub(super) fn storage_get(a: &mut Asm, sk: Reg, create: bool) {
    a.mov(R2, sk);
    a.load_map(R1, MapRole::Storage.map_ref());
    a.mov(R3, 0);
    a.mov(R4, if create { super::ctx::STORAGE_CREATE } else { 0 });
    a.call(helper::SK_STORAGE_GET);
}

/// R7 = the storage that this socket has, R1 = its state; goes to `out` when it has none. R6 is a sock_ops context; uses R8.
pub(super) fn known_storage(a: &mut Asm, out: Label) {
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    storage_get(a, R8, false);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    a.load(Size::W, R1, R7, storage::STATE);
}

/// Deletes the entry of `map` whose key is at `base + offset`.
#[track_caller]
pub(super) fn map_delete(a: &mut Asm, map: MapRole, base: Reg, offset: i16) {
    a.mov(R2, base);
    a.add(R2, i32::from(offset));
    a.load_map(R1, map.map_ref());
    a.call(helper::MAP_DELETE_ELEM);
}

/// Jumps to `off` when the soft switch is off.
#[track_caller]
pub(super) fn require_enabled(a: &mut Asm, off: Label) {
    a.load_map_value(R1, MapRole::Config.map_ref(), super::Config::ENABLED as u32);
    a.load(Size::W, R1, R1, 0);
    a.jump(Cond::Eq, R1, 0, off);
}

/// Sets bits in the storage's flags.
#[track_caller]
pub(super) fn set_flags(a: &mut Asm, flags: i32) {
    use super::storage::FLAGS;
    a.load(Size::W, R1, Reg::R7, FLAGS);
    a.or(R1, flags);
    a.store(Size::W, Reg::R7, FLAGS, R1);
}
