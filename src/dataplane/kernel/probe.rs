//! Reading kernel memory with `bpf_probe_read_kernel`, by addresses that are numbers.

use crate::asm::Reg::{self, R0, R1, R2, R3};
use crate::asm::{Asm, Cond, FP, Label, Size};
use crate::uapi::helper::id as helper;

/// Stack bytes [`probe`] reads into, as many as the head of a socket's state has (`state::peer` checks it).
pub(in crate::dataplane) const PROBE_SLOT: i16 = -24;

/// Stack place of the pointer [`number_of`] copies.
const POINTER_SLOT: i16 = PROBE_SLOT - 8;

/// First stack byte that the idioms leave alone; a program's own slots lie below it.
pub(in crate::dataplane) const SLOTS_END: i16 = POINTER_SLOT;

/// `dst = *(size *)(base + offset)` in kernel memory, or a jump to `fail`. `base` holds a number, not a pointer.
#[track_caller]
pub(in crate::dataplane) fn probe(a: &mut Asm, dst: Reg, size: Size, base: Reg, offset: i32, fail: Label) {
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
pub(in crate::dataplane) fn probe_bytes(a: &mut Asm, bytes: i32, base: Reg, offset: i32, fail: Label) {
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

/// `dst` = the address in the pointer register `pointer`, as a number: programs may not calculate with a socket
/// pointer, but the bytes of one on the stack are a number once they have been copied.
#[track_caller]
pub(in crate::dataplane) fn number_of(a: &mut Asm, dst: Reg, pointer: Reg, fail: Label) {
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
