//! Loads and stores that take their width from a typed field.

use super::Asm;
use crate::asm::place::Root;
use crate::asm::{AtomicOp, Base, BeginsWith, Field, Operand, Place as TypedPlace, Reg, Scalar};

impl Asm {
    /// `dst` = the field of the object at `base`, zero-extended.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Ptr, Reg::*, Size};
    /// use sidestep::layout;
    ///
    /// layout! { pub struct Own: 16 { COOKIE: u64 = 0; SENT: u32 = 8; RUN: u32 = 12; } }
    /// const OWN: Ptr<Own> = Ptr::new(R7);
    ///
    /// let mut a = Asm::new();
    /// a.ld(R1, OWN, Own::SENT);
    /// a.add(R1, 1);
    /// a.st(OWN, Own::SENT, R1);
    /// a.exit();
    ///
    /// let mut b = Asm::new();
    /// b.load(Size::W, R1, R7, 8);
    /// b.add(R1, 1);
    /// b.store(Size::W, R7, 8, R1);
    /// b.exit();
    /// assert_eq!(a.finish()?.insns(), b.finish()?.insns());
    /// # Ok::<(), sidestep::asm::Error>(())
    /// ```
    #[track_caller]
    pub fn ld<B: Base, F, V: Scalar>(&mut self, dst: Reg, base: B, field: Field<F, V>)
    where
        B::Object: BeginsWith<F>,
    {
        self.get(dst, base.at(field));
    }

    /// The field of the object at `base` = `value`.
    #[track_caller]
    pub fn st<B: Base, F, V: Scalar>(&mut self, base: B, field: Field<F, V>, value: impl Into<Operand>)
    where
        B::Object: BeginsWith<F>,
    {
        self.set(base.at(field), value);
    }

    /// `dst` = the number at `place`, zero-extended.
    #[track_caller]
    pub fn get<B: Base>(&mut self, dst: Reg, place: B)
    where
        B::Object: Scalar,
    {
        let (base, off) = self.displaced(place);
        self.load(B::Object::SIZE, dst, base, off);
    }

    /// The number at `place` = `value`.
    #[track_caller]
    pub fn set<B: Base>(&mut self, place: B, value: impl Into<Operand>)
    where
        B::Object: Scalar,
    {
        let (base, off) = self.displaced(place);
        self.store(B::Object::SIZE, base, off, value);
    }

    /// An atomic operation on the field of the object at `base` with `src`; the field is 4 or 8 bytes wide.
    #[track_caller]
    pub fn atomic_on<B: Base, F, V: Scalar>(&mut self, operation: AtomicOp, base: B, field: Field<F, V>, src: Reg)
    where
        B::Object: BeginsWith<F>,
    {
        let (base, off) = self.displaced(base.at(field));
        self.atomic(operation, V::SIZE, base, off, src);
    }

    /// Adds `src` to the field of the object at `base`, atomically; the field is 4 or 8 bytes wide.
    #[track_caller]
    pub fn atomic_add<B: Base, F, V: Scalar>(&mut self, base: B, field: Field<F, V>, src: Reg)
    where
        B::Object: BeginsWith<F>,
    {
        self.atomic_on(AtomicOp::Add { fetch: false }, base, field, src);
    }

    /// `dst` = the address of `place`, as helpers take it.
    #[track_caller]
    pub fn addr<B: Base>(&mut self, dst: Reg, place: B) {
        let TypedPlace { root, offset, .. } = place.place();
        self.address(dst, root, offset);
    }

    #[track_caller]
    #[cold]
    fn address(&mut self, dst: Reg, root: Root, offset: i32) {
        let (base, off) = self.resolve(root, offset);
        self.mov(dst, base);
        if off != 0 {
            self.add(dst, off);
        }
    }

    /// The register and the distance, which an instruction has 16 bits for.
    #[track_caller]
    fn displaced<B: Base>(&mut self, place: B) -> (Reg, i16) {
        let TypedPlace { root, offset, .. } = place.place();
        self.short(root, offset)
    }

    #[track_caller]
    #[cold]
    fn short(&mut self, root: Root, offset: i32) -> (Reg, i16) {
        let (base, off) = self.resolve(root, offset);
        let short = i16::try_from(off).unwrap_or_else(|_| {
            self.invalid(
                format!("a field {off} bytes from an address does not fit into an instruction"),
                "add to the address before",
            );
            0
        });
        (base, short)
    }
}
