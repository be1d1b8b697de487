//! Typed addresses: what lies where a register or a stack slot points.

use std::fmt;
use std::marker::PhantomData;

use super::{Field, Reg, Regs};

/// The role of a register: it holds the address of an `S`.
///
/// ```
/// use sidestep::asm::{Asm, Ptr, Reg::*};
/// use sidestep::layout;
///
/// layout! { pub struct Own: 8 { SENT: u32 = 0; RUN: u32 = 4; } }
/// /// Throughout the program.
/// const OWN: Ptr<Own> = Ptr::new(R7);
///
/// let mut a = Asm::new();
/// a.ld(R1, OWN, Own::RUN);
/// ```
pub struct Ptr<S> {
    reg: Reg,
    object: PhantomData<fn() -> S>,
}

impl<S> Ptr<S> {
    /// The register holds the address of an `S`.
    pub const fn new(reg: Reg) -> Self {
        Self { reg, object: PhantomData }
    }

    /// The register.
    pub const fn reg(self) -> Reg {
        self.reg
    }
}

/// Which stack slot, of which assembler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId {
    pub(super) asm: u32,
    pub(super) index: usize,
}

/// Where an `S` lies: at a distance from a register's address, or in a stack slot.
pub struct Place<S> {
    pub(super) root: Root,
    pub(super) offset: i32,
    object: PhantomData<fn() -> S>,
}

/// What a place is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Reg(Reg),
    Slot(SlotId),
}

/// What has the address of an object: a [`Ptr`], a [`Slot`](super::Slot), or a [`Place`] in one of them.
pub trait Base: Copy {
    /// What lies there.
    type Object;

    /// The same as a place.
    fn place(self) -> Place<Self::Object>;

    /// The register by which it is reached, other than the frame pointer; for contracts.
    fn regs(self) -> Regs {
        match self.place().root {
            Root::Reg(reg) => reg.into(),
            Root::Slot(_) => Regs::NONE,
        }
    }

    /// The place of a field.
    fn at<F, V>(self, field: Field<F, V>) -> Place<V>
    where
        Self::Object: super::BeginsWith<F>,
    {
        let Place { root, offset, .. } = self.place();
        Place { root, offset: offset + field.offset(), object: PhantomData }
    }

    /// The same place, taken for an object of another type.
    fn cast<T>(self) -> Place<T> {
        let Place { root, offset, .. } = self.place();
        Place { root, offset, object: PhantomData }
    }
}

impl<S> Base for Ptr<S> {
    type Object = S;

    fn place(self) -> Place<S> {
        Place { root: Root::Reg(self.reg), offset: 0, object: PhantomData }
    }
}

impl<S> Base for Place<S> {
    type Object = S;

    fn place(self) -> Self {
        self
    }
}

impl<S> Place<S> {
    pub(super) const fn slot(id: SlotId) -> Self {
        Self { root: Root::Slot(id), offset: 0, object: PhantomData }
    }
}

impl<S> Clone for Ptr<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Ptr<S> {}

impl<S> fmt::Debug for Ptr<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Ptr({:?})", self.reg)
    }
}

impl<S> Clone for Place<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Place<S> {}

impl<S> fmt::Debug for Place<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Place({:?}, {})", self.root, self.offset)
    }
}
