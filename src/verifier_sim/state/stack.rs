//! One frame's stack: 512 bytes in slots of 8, each byte of which is known to be something.

use crate::verifier_sim::byte_order::IS_BIG;
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Kind, Reg};

/// Bytes of a frame's stack (`MAX_BPF_STACK`).
pub(in crate::verifier_sim) const STACK_SIZE: usize = 512;
/// Bytes of a slot (`BPF_REG_SIZE`).
pub(in crate::verifier_sim) const SLOT_SIZE: usize = 8;

/// What one byte of the stack holds (`enum bpf_stack_slot_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Byte {
    /// Nothing was written.
    #[default]
    Invalid,
    /// A part of the register in [`Slot::reg`].
    Spill,
    /// Something was written.
    Misc,
    /// Zero was written.
    Zero,
    /// A part of a dynptr, which only helpers may touch.
    Dynptr,
    /// A part of an iterator, likewise.
    Iterator,
}

/// What [`Reg::off`] of an iterator's slot says; [`Reg::map_uid`] counts its rounds, and [`Reg::arg`] is its type.
pub(in crate::verifier_sim) mod iterator {
    /// There may be more elements.
    pub(in crate::verifier_sim) const ACTIVE: i32 = 1;
    /// There are none.
    pub(in crate::verifier_sim) const DRAINED: i32 = 2;
}

/// Eight bytes of the stack, in the kernel's order: byte `i` of slot `n` is at `-(8 * n + i + 1)` from the frame pointer,
/// so byte 7 has the lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Slot {
    /// What each byte is.
    pub(in crate::verifier_sim) bytes: [Byte; SLOT_SIZE],
    /// The register saved here, when byte 7 is [`Byte::Spill`].
    pub(in crate::verifier_sim) reg: Reg,
}

impl Slot {
    /// A slot that was never written.
    pub(in crate::verifier_sim) const EMPTY: Self = Self { bytes: [Byte::Invalid; SLOT_SIZE], reg: Reg::NOT_INIT };

    /// Whether a register, or the low part of a scalar, is saved here.
    pub(in crate::verifier_sim) fn is_spill(&self) -> bool {
        self.bytes[SLOT_SIZE - 1] == Byte::Spill
    }

    /// Whether a scalar is saved here.
    pub(in crate::verifier_sim) fn is_scalar_spill(&self) -> bool {
        self.is_spill() && self.reg.kind == Kind::Scalar
    }

    /// Whether it is a part of an iterator.
    pub(in crate::verifier_sim) fn is_iterator(&self) -> bool {
        self.bytes[SLOT_SIZE - 1] == Byte::Iterator
    }

    /// Saves the low `size` bytes of `reg`; the rest of the slot becomes unknown.
    pub(in crate::verifier_sim) fn save(&mut self, reg: &Reg, size: usize) {
        self.reg = *reg;
        for (index, byte) in self.bytes.iter_mut().enumerate() {
            if index >= SLOT_SIZE - size {
                *byte = Byte::Spill;
            } else {
                downgrade(byte);
            }
        }
    }

    /// Turns what is left of a saved register into unknown bytes.
    pub(in crate::verifier_sim) fn scrub(&mut self) {
        self.reg.kind = Kind::NotInit;
        if self.is_spill() || self.is_iterator() {
            for byte in &mut self.bytes {
                scrub_byte(byte);
            }
        }
    }
}

/// The neighbours of a partial write: zero stays zero and an unwritten byte stays unwritten.
fn downgrade(byte: &mut Byte) {
    if matches!(byte, Byte::Spill | Byte::Iterator) {
        *byte = Byte::Misc;
    }
}

/// One byte of a slot whose saved register is no longer whole.
pub(in crate::verifier_sim) fn scrub_byte(byte: &mut Byte) {
    if *byte != Byte::Invalid {
        *byte = Byte::Misc;
    }
}

/// The slot that holds the byte at `off` from the frame pointer, and the byte's index in it. `off` must be -512..=-1.
pub(in crate::verifier_sim) fn locate(off: i64) -> (usize, usize) {
    debug_assert!((-(STACK_SIZE as i64)..0).contains(&off));
    let distance = (-off - 1) as usize;
    (distance / SLOT_SIZE, distance % SLOT_SIZE)
}

/// Whether a load of `size` bytes at `off` reads the low bytes of a register saved with `spill_size` bytes. Linux before
/// 6.9 restores only whole registers and 4 bytes of them.
pub(in crate::verifier_sim) fn reads_low_part(off: i64, size: usize, spill_size: usize, kernel: Kernel) -> bool {
    // On a big-endian machine the low bytes are the last ones (`bpf_stack_narrow_access_ok`, include/linux/bpf_verifier.h).
    let before = if IS_BIG { spill_size.saturating_sub(size) } else { 0 };
    let misalignment = (off - before as i64).rem_euclid(SLOT_SIZE as i64);
    let whole = if kernel >= Kernel::V6_12 { size <= spill_size } else { size == spill_size };
    whole && misalignment == 0
}
