//! Sets of registers.

use std::fmt;
use std::ops::{BitOr, Sub};

use super::Reg;

/// A set of registers.
///
/// ```
/// use sidestep::asm::{Reg::*, Regs};
///
/// let used = Regs::from([R6, R7]) | Regs::SCRATCH;
/// assert!(used.contains(R0) && !used.contains(R8));
/// assert_eq!((used - Regs::SCRATCH).to_string(), "r6, r7");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Regs(u16);

impl Regs {
    /// No register.
    pub const NONE: Self = Self(0);
    /// R0 to R5, which every call loses.
    pub const SCRATCH: Self = Self(0b11_1111);
    /// R1 to R5, which hold a call's arguments and nothing after it.
    pub const ARGUMENTS: Self = Self(0b11_1110);
    /// R0 to R10.
    pub const ALL: Self = Self(0x7ff);

    /// The set of this one register.
    pub const fn of(reg: Reg) -> Self {
        Self(1 << reg.number())
    }

    /// The first `count` registers that hold a call's arguments; at most five.
    pub const fn arguments(count: u8) -> Self {
        let count = if count > 5 { 5 } else { count };
        Self(((1 << count) - 1) << 1)
    }

    /// What is in this set or in the other.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and in the other.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the register is in the set.
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 & 1 << reg.number() != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The registers, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        Reg::ALL.into_iter().filter(move |reg| self.contains(*reg))
    }
}

impl From<Reg> for Regs {
    fn from(reg: Reg) -> Self {
        Self::of(reg)
    }
}

impl<const N: usize> From<[Reg; N]> for Regs {
    fn from(regs: [Reg; N]) -> Self {
        regs.into_iter().fold(Self::NONE, |set, reg| set | Self::of(reg))
    }
}

impl BitOr for Regs {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl Sub for Regs {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.difference(other)
    }
}

impl fmt::Display for Regs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reg) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}r{}", reg.number())?;
        }
        Ok(())
    }
}
