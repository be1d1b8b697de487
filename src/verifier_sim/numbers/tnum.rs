//! Tristate numbers: which bits of a value are known, and what they are (kernel/bpf/tnum.c).
//!
//! A bit set in [`Tnum::mask`] is unknown and is then clear in [`Tnum::value`].

use std::fmt;

/// A set of 64-bit values given by known bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Tnum {
    /// The known bits.
    pub(in crate::verifier_sim) value: u64,
    /// The unknown bits.
    pub(in crate::verifier_sim) mask: u64,
}

impl Tnum {
    /// Every value.
    pub(in crate::verifier_sim) const UNKNOWN: Self = Self { value: 0, mask: u64::MAX };

    /// One value.
    pub(in crate::verifier_sim) const fn known(value: u64) -> Self {
        Self { value, mask: 0 }
    }

    /// The smallest tristate number that holds `min..=max`.
    pub(in crate::verifier_sim) fn range(min: u64, max: u64) -> Self {
        let bits = 64 - (min ^ max).leading_zeros();
        if bits > 63 {
            return Self::UNKNOWN;
        }
        let delta = (1u64 << bits) - 1;
        Self { value: min & !delta, mask: delta }
    }

    /// Whether only one value is possible.
    pub(in crate::verifier_sim) fn is_known(self) -> bool {
        self.mask == 0
    }

    /// Whether `value` is the only possible value.
    pub(in crate::verifier_sim) fn is(self, value: u64) -> bool {
        self.mask == 0 && self.value == value
    }

    /// The largest unsigned value.
    pub(in crate::verifier_sim) fn max(self) -> u64 {
        self.value | self.mask
    }

    /// `self << by`, for `by` below 64.
    pub(in crate::verifier_sim) fn shl(self, by: u32) -> Self {
        Self { value: self.value << by, mask: self.mask << by }
    }

    /// `self >> by`, filling with zeros, for `by` below 64.
    pub(in crate::verifier_sim) fn shr(self, by: u32) -> Self {
        Self { value: self.value >> by, mask: self.mask >> by }
    }

    /// `self >> by`, filling with the sign of the lower `bits` (32 or 64) bits.
    pub(in crate::verifier_sim) fn sar(self, by: u32, bits: u32) -> Self {
        if bits == 32 {
            Self {
                value: u64::from(((self.value as i32) >> by) as u32),
                mask: u64::from(((self.mask as i32) >> by) as u32),
            }
        } else {
            Self { value: ((self.value as i64) >> by) as u64, mask: ((self.mask as i64) >> by) as u64 }
        }
    }

    /// The sum: a bit is unknown if either operand's is, or if a carry into it is.
    pub(in crate::verifier_sim) fn add(self, other: Self) -> Self {
        let masks = self.mask.wrapping_add(other.mask);
        let values = self.value.wrapping_add(other.value);
        let carried = masks.wrapping_add(values) ^ values;
        let mask = carried | self.mask | other.mask;
        Self { value: values & !mask, mask }
    }

    /// The difference.
    pub(in crate::verifier_sim) fn sub(self, other: Self) -> Self {
        let values = self.value.wrapping_sub(other.value);
        let borrowed = values.wrapping_add(self.mask) ^ values.wrapping_sub(other.mask);
        let mask = borrowed | self.mask | other.mask;
        Self { value: values & !mask, mask }
    }

    /// The negation.
    pub(in crate::verifier_sim) fn neg(self) -> Self {
        Self::known(0).sub(self)
    }

    /// Bitwise and.
    pub(in crate::verifier_sim) fn and(self, other: Self) -> Self {
        let value = self.value & other.value;
        Self { value, mask: self.max() & other.max() & !value }
    }

    /// Bitwise or.
    pub(in crate::verifier_sim) fn or(self, other: Self) -> Self {
        let value = self.value | other.value;
        Self { value, mask: (self.mask | other.mask) & !value }
    }

    /// Bitwise exclusive or.
    pub(in crate::verifier_sim) fn xor(self, other: Self) -> Self {
        let mask = self.mask | other.mask;
        Self { value: (self.value ^ other.value) & !mask, mask }
    }

    /// Either of the two.
    fn union(self, other: Self) -> Self {
        let mask = (self.value ^ other.value) | self.mask | other.mask;
        Self { value: self.value & other.value & !mask, mask }
    }

    /// The product by long multiplication, where an unknown bit of `self` adds `other` or not.
    ///
    /// Linux 6.18 keeps the two cases in one number (`union`); earlier kernels (5.14 to 6.17) gather all uncertainty in a
    /// second sum, which is coarser: [`Tnum::mul_before_6_18`].
    pub(in crate::verifier_sim) fn mul(self, other: Self) -> Self {
        let (mut a, mut b, mut sum) = (self, other, Self::known(0));
        while a.value != 0 || a.mask != 0 {
            if a.value & 1 != 0 {
                sum = sum.add(b);
            } else if a.mask & 1 != 0 {
                sum = sum.union(sum.add(b));
            }
            a = a.shr(1);
            b = b.shl(1);
        }
        sum
    }

    /// The product as Linux before 6.18 computes it.
    pub(in crate::verifier_sim) fn mul_before_6_18(self, other: Self) -> Self {
        let (mut a, mut b, mut unsure) = (self, other, Self::known(0));
        let known = Self::known(a.value.wrapping_mul(b.value));
        while a.value != 0 || a.mask != 0 {
            if a.value & 1 != 0 {
                unsure = unsure.add(Self { value: 0, mask: b.mask });
            } else if a.mask & 1 != 0 {
                unsure = unsure.add(Self { value: 0, mask: b.max() });
            }
            a = a.shr(1);
            b = b.shl(1);
        }
        known.add(unsure)
    }

    /// The smallest possible value above `value`, or the greatest possible one if there is none.
    pub(in crate::verifier_sim) fn next_above(self, value: u64) -> u64 {
        if value >= self.max() {
            return self.max();
        }
        if value < self.value {
            return self.value;
        }
        // Count upwards in the unknown bits only: all others are filled so that a carry runs through them.
        let distance = value - self.value;
        let below = match (distance & !self.mask).checked_ilog2() {
            Some(63) => u64::MAX,
            Some(bit) => (1 << (bit + 1)) - 1,
            None => 0,
        };
        let filled = distance | below | !self.mask;
        self.value | (filled.wrapping_add(1) & self.mask)
    }

    /// The low `size` bytes (2, 4 or 8) in the other byte order, the rest zero.
    pub(in crate::verifier_sim) fn swap_bytes(self, size: u32) -> Self {
        let swap = |bits: u64| bits.swap_bytes() >> (64 - size * 8);
        Self { value: swap(self.value), mask: swap(self.mask) }
    }

    /// Whether some value is in both.
    pub(in crate::verifier_sim) fn overlaps(self, other: Self) -> bool {
        let both = !self.mask & !other.mask;
        self.value & both == other.value & both
    }

    /// The values in both; where they contradict each other the known 1 wins.
    pub(in crate::verifier_sim) fn intersect(self, other: Self) -> Self {
        let mask = self.mask & other.mask;
        Self { value: (self.value | other.value) & !mask, mask }
    }

    /// Only the lowest `size` bytes (1, 2, 4), the rest zero.
    pub(in crate::verifier_sim) fn cast(self, size: u32) -> Self {
        let keep = if size >= 8 { u64::MAX } else { (1u64 << (size * 8)) - 1 };
        Self { value: self.value & keep, mask: self.mask & keep }
    }

    /// Whether every value is a multiple of `size`, a power of two.
    pub(in crate::verifier_sim) fn is_aligned(self, size: u64) -> bool {
        size == 0 || self.max() & (size - 1) == 0
    }

    /// Whether every value of `other` is a value of `self`.
    pub(in crate::verifier_sim) fn contains(self, other: Self) -> bool {
        other.mask & !self.mask == 0 && self.value == other.value & !self.mask
    }

    /// The lower 32 bits.
    pub(in crate::verifier_sim) fn subreg(self) -> Self {
        self.cast(4)
    }

    /// The lower 32 bits replaced by zero.
    pub(in crate::verifier_sim) fn clear_subreg(self) -> Self {
        self.shr(32).shl(32)
    }

    /// The lower 32 bits replaced by those of `low`.
    pub(in crate::verifier_sim) fn with_subreg(self, low: Self) -> Self {
        self.clear_subreg().or(low.subreg())
    }
}

impl fmt::Display for Tnum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mask, u16::try_from(self.value)) {
            (0, Ok(short)) => write!(out, "{short}"),
            (0, Err(_)) => write!(out, "{:#x}", self.value),
            (mask, _) => write!(out, "({:#x}; {mask:#x})", self.value),
        }
    }
}

#[cfg(test)]
mod tests;
