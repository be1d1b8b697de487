//! Reading kernel memory whose address we hold, in one of two ways that never fault.
//!
//! With [`Casts`](crate::dataplane::Casts) the address becomes a pointer of the kernel's own type, and a field is one load;
//! without, it stays a number and a field is a call of `bpf_probe_read_kernel`. The emitted checks are the same.

use crate::asm::Reg::{self, R0, R1, R2};
use crate::asm::{Asm, BeginsWith, Field, Label, Ptr, Scalar, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::{Object, Word};
use crate::dataplane::kernel::probe::{number_of, probe};

impl KernelOffsets {
    /// `dst` (R6 to R9) = the kernel object behind the pointer register `pointer`, opened.
    #[track_caller]
    pub(in crate::dataplane) fn behind<T: Object>(&self, a: &mut Asm, dst: Reg, pointer: Reg, fail: Label) -> Ptr<T> {
        let object = Ptr::new(dst);
        if self.casts.is_some() {
            a.idiom("behind", Uses::scratch().reads(pointer).gives(dst), |a| {
                a.mov(dst, pointer);
                self.open(a, object);
            });
        } else {
            number_of(a, dst, pointer, fail);
        }
        object
    }

    /// Makes the address in a register (R6 to R9) ready for [`Self::read`].
    #[track_caller]
    pub(in crate::dataplane) fn open<T: Object>(&self, a: &mut Asm, object: Ptr<T>) {
        let Some(casts) = &self.casts else { return };
        let reg = object.reg();
        a.idiom("open", Uses::scratch().reads(reg).gives(reg), |a| {
            a.mov(R1, reg);
            a.mov(R2, T::cast(casts) as i32);
            a.call_kfunc(casts.rdonly_cast as i32, 0);
            a.mov(reg, R0);
        });
    }

    /// `dst` = the field of the object at `base`, which has been opened, or is a pointer read this way. Where there is no
    /// memory: 0, or a jump to `fail`. Loses R0 to R5 but `dst`.
    #[track_caller]
    pub(in crate::dataplane) fn read<B, F, V: Scalar>(
        &self,
        a: &mut Asm,
        dst: Reg,
        base: Ptr<B>,
        field: Field<F, V>,
        fail: Label,
    ) where
        B: BeginsWith<F>,
    {
        if self.casts.is_some() {
            a.idiom("read", Uses::nothing().reads(base.reg()).gives(dst), |a| a.ld(dst, base, field));
        } else {
            probe(a, dst, base, field, fail);
        }
    }

    /// The register of `base` (R6 to R9, an address or a pointer) = the 8 bytes of the field, as a number. Fails as
    /// [`Self::read`] does.
    #[track_caller]
    pub(in crate::dataplane) fn follow<B, F, V: Scalar>(
        &self,
        a: &mut Asm,
        base: Ptr<B>,
        field: Field<F, V>,
        fail: Label,
    ) where
        B: BeginsWith<F>,
    {
        let reg = base.reg();
        if self.casts.is_some() {
            a.idiom("follow", Uses::scratch().reads(reg).gives(reg), |a| {
                if field.offset() != 0 {
                    a.add(reg, field.offset());
                }
                let word = Ptr::<Word>::new(reg);
                self.open(a, word);
                a.ld(reg, word, Word::VALUE);
            });
        } else {
            probe(a, reg, base, field, fail);
        }
    }
}
