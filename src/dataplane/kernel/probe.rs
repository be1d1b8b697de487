//! Reading kernel memory with `bpf_probe_read_kernel`, by addresses that are numbers.

use crate::asm::Reg::{self, R0, R1, R2, R3};
use crate::asm::{Asm, BeginsWith, Field, Label, Laid, Ptr, Scalar, Slot, Uses};
use crate::uapi::helper::id as helper;

/// `dst` = the field of the object at `base`, which is a number and not a pointer, or a jump to `fail`.
#[track_caller]
pub(in crate::dataplane) fn probe<B, F, V: Scalar>(a: &mut Asm, dst: Reg, base: Ptr<B>, field: Field<F, V>, fail: Label)
where
    B: BeginsWith<F>,
{
    a.idiom("probe", Uses::scratch().reads(base.reg()).gives(dst), |a| {
        let copy = a.slot::<V>("copy");
        copy_to(a, copy, V::BYTES, base.reg(), field.offset(), fail);
        a.get(dst, copy);
    });
}

/// Copies the field of the object at `base`, which is a number and not a pointer, or jumps to `fail`.
#[track_caller]
pub(in crate::dataplane) fn probe_field<B, F, V: Laid>(
    a: &mut Asm,
    copy: Slot<V>,
    base: Ptr<B>,
    field: Field<F, V>,
    fail: Label,
) where
    B: BeginsWith<F>,
{
    a.idiom("probe", Uses::scratch().reads(base.reg()), |a| {
        copy_to(a, copy, V::BYTES, base.reg(), field.offset(), fail);
    });
}

/// Copies as much kernel memory at the address in `base`, which is a number, as `copy` holds, or jumps to `fail`.
#[track_caller]
pub(in crate::dataplane) fn probe_all<S: Laid>(a: &mut Asm, copy: Slot<S>, base: Reg, fail: Label) {
    a.idiom("probe", Uses::scratch().reads(base), |a| copy_to(a, copy, S::BYTES, base, 0, fail));
}

/// What the three above have in common; each has the contract, whose name is that of the check.
#[track_caller]
fn copy_to<S>(a: &mut Asm, copy: Slot<S>, bytes: usize, base: Reg, offset: i32, fail: Label) {
    a.mov(R3, base);
    if offset != 0 {
        a.add(R3, offset);
    }
    a.addr(R1, copy);
    a.mov(R2, bytes as i32);
    a.call(helper::PROBE_READ_KERNEL);
    a.require(R0.equals(0), fail, "there is memory");
}

/// `dst` = the address in the pointer register `pointer`, as a number: programs may not calculate with a socket
/// pointer, but the bytes of one on the stack are a number once they have been copied.
#[track_caller]
pub(in crate::dataplane) fn number_of(a: &mut Asm, dst: Reg, pointer: Reg, fail: Label) {
    a.idiom("number_of", Uses::scratch().reads(pointer).gives(dst), |a| {
        let [copy, original] = ["copy", "pointer"].map(|name| a.slot::<u64>(name));
        a.set(original, pointer);
        a.addr(R1, copy);
        a.mov(R2, 8);
        a.addr(R3, original);
        a.call(helper::PROBE_READ_KERNEL);
        a.require(R0.equals(0), fail, "the copy is made");
        a.get(dst, copy);
    });
}
