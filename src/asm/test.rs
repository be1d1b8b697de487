//! Conditions as values: what `if_` and `require` ask.

use super::{Cond, Operand, Reg};

/// A condition on a register: made by its methods, such as [`Reg::equals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    pub(super) reg: Reg,
    pub(super) cond: Cond,
    pub(super) operand: Operand,
    /// On 64 bits, else on the lower 32.
    pub(super) wide: bool,
    /// Holds when the condition does not: for [`Cond::Set`], which has no inverse of its own.
    pub(super) negated: bool,
}

impl Test {
    /// Holds exactly when this one does not.
    ///
    /// ```
    /// use sidestep::asm::Reg::*;
    ///
    /// assert_eq!(R1.equals(0).inverted(), R1.differs(0));
    /// assert_eq!(R1.any_of(3).inverted(), R1.none_of(3));
    /// ```
    #[must_use]
    pub const fn inverted(self) -> Self {
        match self.cond.inverted() {
            Some(cond) => Self { cond, ..self },
            None => Self { negated: !self.negated, ..self },
        }
    }
}

/// The lower 32 bits of a register, made by [`Reg::w`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Low(Reg);

impl Reg {
    /// The lower 32 bits of the register, to be compared.
    pub const fn w(self) -> Low {
        Low(self)
    }
}

macro_rules! conditions {
    ($($name:ident $cond:ident $negated:literal $doc:literal;)*) => {
        impl Reg {
            $(#[doc = concat!("Holds when ", $doc, ", on 64 bits.")]
            pub fn $name(self, operand: impl Into<Operand>) -> Test {
                Test { reg: self, cond: Cond::$cond, operand: operand.into(), wide: true, negated: $negated }
            })*
        }

        impl Low {
            $(#[doc = concat!("Holds when ", $doc, ", on the lower 32 bits.")]
            pub fn $name(self, operand: impl Into<Operand>) -> Test {
                Test { reg: self.0, cond: Cond::$cond, operand: operand.into(), wide: false, negated: $negated }
            })*
        }
    };
}

conditions! {
    equals Eq false "it equals the operand";
    differs Ne false "it differs from the operand";
    above Gt false "it is greater than the operand, both unsigned";
    at_least Ge false "it is not less than the operand, both unsigned";
    below Lt false "it is less than the operand, both unsigned";
    at_most Le false "it is not greater than the operand, both unsigned";
    signed_above Sgt false "it is greater than the operand, both signed";
    signed_at_least Sge false "it is not less than the operand, both signed";
    signed_below Slt false "it is less than the operand, both signed";
    signed_at_most Sle false "it is not greater than the operand, both signed";
    any_of Set false "it has one of the operand's bits";
    none_of Set true "it has none of the operand's bits";
}
