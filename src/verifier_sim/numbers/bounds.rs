//! What is known of a number: its bits and its signed and unsigned ranges in 64 and in 32 bits.
//!
//! The deductions follow `reg_bounds_sync` of kernel/bpf/verifier.c: each view narrows the others, three times over.

use crate::verifier_sim::numbers::tnum::Tnum;

/// A set of 64-bit values, described in five ways that are all true at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Bounds {
    /// Known bits.
    pub(in crate::verifier_sim) bits: Tnum,
    /// Least value as i64.
    pub(in crate::verifier_sim) smin: i64,
    /// Greatest value as i64.
    pub(in crate::verifier_sim) smax: i64,
    /// Least value as u64.
    pub(in crate::verifier_sim) umin: u64,
    /// Greatest value as u64.
    pub(in crate::verifier_sim) umax: u64,
    /// Least value of the lower half as i32.
    pub(in crate::verifier_sim) smin32: i32,
    /// Greatest value of the lower half as i32.
    pub(in crate::verifier_sim) smax32: i32,
    /// Least value of the lower half as u32.
    pub(in crate::verifier_sim) umin32: u32,
    /// Greatest value of the lower half as u32.
    pub(in crate::verifier_sim) umax32: u32,
}

/// The upper half of a 64-bit value.
const HIGH: u64 = 0xffff_ffff_0000_0000;

impl Bounds {
    /// Every value.
    pub(in crate::verifier_sim) const UNKNOWN: Self = Self {
        bits: Tnum::UNKNOWN,
        smin: i64::MIN,
        smax: i64::MAX,
        umin: 0,
        umax: u64::MAX,
        smin32: i32::MIN,
        smax32: i32::MAX,
        umin32: 0,
        umax32: u32::MAX,
    };

    /// One value.
    pub(in crate::verifier_sim) const fn known(value: u64) -> Self {
        Self {
            bits: Tnum::known(value),
            smin: value as i64,
            smax: value as i64,
            umin: value,
            umax: value,
            smin32: value as i32,
            smax32: value as i32,
            umin32: value as u32,
            umax32: value as u32,
        }
    }

    /// Whether only one value is possible, in the lower half or in all of it.
    pub(in crate::verifier_sim) fn is_known(&self, low: bool) -> bool {
        if low { self.bits.subreg().is_known() } else { self.bits.is_known() }
    }

    /// The value, if it is known: its lower half or all of it.
    pub(in crate::verifier_sim) fn value(&self, low: bool) -> Option<u64> {
        let bits = if low { self.bits.subreg() } else { self.bits };
        bits.is_known().then_some(bits.value)
    }

    /// Forgets the 64-bit ranges.
    pub(in crate::verifier_sim) fn forget64(&mut self) {
        (self.smin, self.smax, self.umin, self.umax) = (i64::MIN, i64::MAX, 0, u64::MAX);
    }

    /// Forgets the 32-bit ranges.
    pub(in crate::verifier_sim) fn forget32(&mut self) {
        (self.smin32, self.smax32, self.umin32, self.umax32) = (i32::MIN, i32::MAX, 0, u32::MAX);
    }

    /// Forgets all ranges, but not the bits.
    pub(in crate::verifier_sim) fn forget_ranges(&mut self) {
        self.forget64();
        self.forget32();
    }

    /// Sets the lower half to one value, leaving the 64-bit ranges alone.
    pub(in crate::verifier_sim) fn set_known32(&mut self, value: u32) {
        self.bits = self.bits.with_subreg(Tnum::known(u64::from(value)));
        (self.smin32, self.smax32) = (value as i32, value as i32);
        (self.umin32, self.umax32) = (value, value);
    }

    /// Narrows the 32-bit ranges by the known bits.
    pub(in crate::verifier_sim) fn ranges32_from_bits(&mut self) {
        let low = self.bits.subreg();
        let (value, mask) = (low.value as u32, low.mask as u32);
        self.smin32 = self.smin32.max((value | (mask & i32::MIN as u32)) as i32);
        self.smax32 = self.smax32.min((value | (mask & i32::MAX as u32)) as i32);
        self.umin32 = self.umin32.max(value);
        self.umax32 = self.umax32.min(value | mask);
    }

    /// Narrows the 64-bit ranges by the known bits.
    pub(in crate::verifier_sim) fn ranges64_from_bits(&mut self) {
        let Tnum { value, mask } = self.bits;
        self.smin = self.smin.max((value | (mask & i64::MIN as u64)) as i64);
        self.smax = self.smax.min((value | (mask & i64::MAX as u64)) as i64);
        self.umin = self.umin.max(value);
        self.umax = self.umax.min(value | mask);
    }

    /// Narrows all ranges by the known bits.
    pub(in crate::verifier_sim) fn ranges_from_bits(&mut self) {
        self.ranges32_from_bits();
        self.ranges64_from_bits();
        self.only_value_in_range();
    }

    /// Where the bits leave only one value in the unsigned range, that is the value (Linux 6.18).
    fn only_value_in_range(&mut self) {
        let bits = self.bits;
        let next = bits.next_above(self.umin);
        let fits = self.umin & !bits.mask == bits.value;
        let only = if fits {
            (next > self.umax).then_some(self.umin)
        } else if next == bits.max() {
            Some(next)
        } else {
            (next <= self.umax && bits.next_above(next) > self.umax).then_some(next)
        };
        if let Some(only) = only {
            *self = Self::known(only);
        }
    }

    fn narrow_s32(&mut self, min: i32, max: i32) {
        self.smin32 = self.smin32.max(min);
        self.smax32 = self.smax32.min(max);
    }

    fn narrow_u32(&mut self, min: u32, max: u32) {
        self.umin32 = self.umin32.max(min);
        self.umax32 = self.umax32.min(max);
    }

    fn narrow_s64(&mut self, min: i64, max: i64) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    fn narrow_u64(&mut self, min: u64, max: u64) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    /// Narrows the 32-bit ranges by the 64-bit ones and by each other.
    fn deduce32(&mut self) {
        // A 64-bit range within one 2^32 block is a range of the lower half too.
        if self.umin >> 32 == self.umax >> 32 {
            self.narrow_u32(self.umin as u32, self.umax as u32);
            if self.umin as i32 <= self.umax as i32 {
                self.narrow_s32(self.umin as i32, self.umax as i32);
            }
        }
        if self.smin >> 32 == self.smax >> 32 {
            if self.smin as u32 <= self.smax as u32 {
                self.narrow_u32(self.smin as u32, self.smax as u32);
            }
            if self.smin as i32 <= self.smax as i32 {
                self.narrow_s32(self.smin as i32, self.smax as i32);
            }
        }
        // A range from the negative half of one block into the positive half of the next is a signed range.
        let next = |low: u64, high: u64| ((low >> 32) as u32).wrapping_add(1) == (high >> 32) as u32;
        if next(self.umin, self.umax) && (self.umin as i32) < 0 && self.umax as i32 >= 0 {
            self.narrow_s32(self.umin as i32, self.umax as i32);
        }
        if next(self.smin as u64, self.smax as u64) && (self.smin as i32) < 0 && self.smax as i32 >= 0 {
            self.narrow_s32(self.smin as i32, self.smax as i32);
        }
        if self.umin32 as i32 <= self.umax32 as i32 {
            self.narrow_s32(self.umin32 as i32, self.umax32 as i32);
        }
        if self.smin32 as u32 <= self.smax32 as u32 {
            self.narrow_u32(self.smin32 as u32, self.smax32 as u32);
        } else if self.umax32 < self.smin32 as u32 {
            // The signed range wraps, and the unsigned one overlaps only its non-negative part.
            self.smin32 = self.umin32 as i32;
            self.umax32 = self.umax32.min(self.smax32 as u32);
        } else if (self.smax32 as u32) < self.umin32 {
            self.smax32 = self.umax32 as i32;
            self.umin32 = self.umin32.max(self.smin32 as u32);
        }
    }

    /// Narrows the signed and unsigned 64-bit ranges by each other.
    fn deduce64(&mut self) {
        if self.umin as i64 <= self.umax as i64 {
            self.narrow_s64(self.umin as i64, self.umax as i64);
        }
        if self.smin as u64 <= self.smax as u64 {
            self.narrow_u64(self.smin as u64, self.smax as u64);
        } else if self.umax < self.smin as u64 {
            self.smin = self.umin as i64;
            self.umax = self.umax.min(self.smax as u64);
        } else if (self.smax as u64) < self.umin {
            self.smax = self.umax as i64;
            self.umin = self.umin.max(self.smin as u64);
        }
    }

    /// Narrows the 64-bit ranges by the 32-bit ones.
    fn deduce_mixed(&mut self) {
        let with_low = |this: &mut Self, low_min: u32, low_max: u32| {
            let (min, max) = (u64::from(low_min), u64::from(low_max));
            this.narrow_u64(this.umin & HIGH | min, this.umax & HIGH | max);
            this.narrow_s64((this.smin as u64 & HIGH | min) as i64, (this.smax as u64 & HIGH | max) as i64);
        };
        with_low(self, self.umin32, self.umax32);
        if self.smin32 as u32 <= self.smax32 as u32 {
            with_low(self, self.smin32 as u32, self.smax32 as u32);
        }
        // A sign-extended value whose lower half is not negative.
        if self.smin32 >= 0 && self.smin >= i64::from(i32::MIN) && self.smax <= i64::from(i32::MAX) {
            (self.smin, self.smax) = (i64::from(self.smin32), i64::from(self.smax32));
            (self.umin, self.umax) = (self.smin as u64, self.smax as u64);
            self.bits = self.bits.intersect(Tnum::range(self.umin, self.umax));
        }
    }

    fn bits_from_ranges(&mut self) {
        let all = self.bits.intersect(Tnum::range(self.umin, self.umax));
        let low = all.subreg().intersect(Tnum::range(u64::from(self.umin32), u64::from(self.umax32)));
        self.bits = all.clear_subreg().or(low);
    }

    /// Makes the five descriptions agree.
    pub(in crate::verifier_sim) fn sync(&mut self) {
        self.ranges_from_bits();
        for _ in 0..3 {
            self.deduce32();
            self.deduce64();
            self.deduce_mixed();
        }
        self.bits_from_ranges();
        self.ranges_from_bits();
    }

    /// What contradicts itself, if anything does. Values that cannot occur have such bounds.
    pub(in crate::verifier_sim) fn violation(&self) -> Option<&'static str> {
        if self.umin > self.umax || self.smin > self.smax || self.umin32 > self.umax32 || self.smin32 > self.smax32 {
            return Some("range bounds violation");
        }
        if self.bits.is_known() {
            let value = self.bits.value;
            if (self.umin, self.umax, self.smin, self.smax) != (value, value, value as i64, value as i64) {
                return Some("const tnum out of sync with range bounds");
            }
        }
        let low = self.bits.subreg();
        if low.is_known() {
            let value = low.value as u32;
            if (self.umin32, self.umax32, self.smin32, self.smax32) != (value, value, value as i32, value as i32) {
                return Some("const subreg tnum out of sync with range bounds");
            }
        }
        None
    }

    /// The 64-bit ranges of a value whose upper half is zero.
    pub(in crate::verifier_sim) fn zero_extend32(&mut self) {
        self.bits = self.bits.subreg();
        (self.umin, self.umax) = (u64::from(self.umin32), u64::from(self.umax32));
        if self.smin32 >= 0 && self.smax32 >= 0 {
            (self.smin, self.smax) = (i64::from(self.smin32), i64::from(self.smax32));
        } else {
            (self.smin, self.smax) = (0, i64::from(u32::MAX));
        }
    }

    /// The value cut to `size` bytes (1, 2 or 4) and zero-extended.
    pub(in crate::verifier_sim) fn truncate(&mut self, size: u32) {
        self.bits = self.bits.cast(size);
        let mask = (1u64 << (size * 8)) - 1;
        if self.umin & !mask == self.umax & !mask {
            self.umin &= mask;
            self.umax &= mask;
        } else {
            (self.umin, self.umax) = (0, mask);
        }
        (self.smin, self.smax) = (self.umin as i64, self.umax as i64);
        if size < 4 {
            self.forget32();
        }
        self.sync();
    }

    /// The value cut to `size` bytes (1, 2 or 4) and sign-extended to 64 bits.
    pub(in crate::verifier_sim) fn sign_extend64(&mut self, size: u32) {
        let extend = |value: u64| match size {
            1 => i64::from(value as i8),
            2 => i64::from(value as i16),
            _ => i64::from(value as i32),
        };
        if let Some(value) = self.value(false) {
            *self = Self::known(extend(value) as u64);
            return;
        }
        let shift = size * 8;
        if self.smax >> shift == self.smin >> shift {
            let (high, low) = (extend(self.smax as u64), extend(self.smin as u64));
            let (max, min) = (high.max(low), high.min(low));
            if (max >= 0) == (min >= 0) {
                (self.smin, self.smax, self.umin, self.umax) = (min, max, min as u64, max as u64);
                (self.smin32, self.smax32) = (min as i32, max as i32);
                (self.umin32, self.umax32) = (min as u32, max as u32);
                self.bits = Tnum::range(min as u64, max as u64);
                return;
            }
        }
        *self = Self::UNKNOWN;
        let min: i32 = if size == 4 { i32::MIN } else { -1 << (shift - 1) };
        (self.smin32, self.smax32) = (min, !min);
        (self.smin, self.smax) = (i64::from(min), i64::from(!min));
    }

    /// The value cut to `size` bytes (1 or 2) and sign-extended to 32 bits; the caller zero-extends.
    pub(in crate::verifier_sim) fn sign_extend32(&mut self, size: u32) {
        let extend = |value: u32| if size == 1 { i32::from(value as i8) } else { i32::from(value as i16) };
        if let Some(value) = self.value(false) {
            // As in the kernel the 64-bit ranges are left to the caller's zero extension.
            let extended = extend(value as u32);
            self.bits = Tnum::known(i64::from(extended) as u64);
            (self.smin32, self.smax32) = (extended, extended);
            (self.umin32, self.umax32) = (extended as u32, extended as u32);
            return;
        }
        let shift = size * 8;
        if self.smax32 >> shift == self.smin32 >> shift {
            let (high, low) = (extend(self.smax32 as u32), extend(self.smin32 as u32));
            let (max, min) = (high.max(low), high.min(low));
            if (max >= 0) == (min >= 0) {
                (self.smin32, self.smax32) = (min, max);
                (self.umin32, self.umax32) = (min as u32, max as u32);
                self.bits = Tnum::range(i64::from(min) as u64, i64::from(max) as u64).subreg();
                return;
            }
        }
        let min: i32 = -1 << (shift - 1);
        (self.smin32, self.smax32) = (min, !min);
        (self.umin32, self.umax32) = (0, u32::MAX);
        self.bits = Tnum::UNKNOWN.subreg();
    }

    /// Number of significant bits of the greatest unsigned value.
    pub(in crate::verifier_sim) fn width(&self) -> u32 {
        64 - self.umax.leading_zeros()
    }

    /// Narrows every range to what is also in that of `other`.
    pub(in crate::verifier_sim) fn intersect_ranges(&mut self, other: &Self) {
        (self.umin, self.umax) = (self.umin.max(other.umin), self.umax.min(other.umax));
        (self.smin, self.smax) = (self.smin.max(other.smin), self.smax.min(other.smax));
        (self.umin32, self.umax32) = (self.umin32.max(other.umin32), self.umax32.min(other.umax32));
        (self.smin32, self.smax32) = (self.smin32.max(other.smin32), self.smax32.min(other.smax32));
    }

    /// Whether every range of `other` lies within that of `self`.
    pub(in crate::verifier_sim) fn ranges_contain(&self, other: &Self) -> bool {
        self.umin <= other.umin
            && self.umax >= other.umax
            && self.smin <= other.smin
            && self.smax >= other.smax
            && self.umin32 <= other.umin32
            && self.umax32 >= other.umax32
            && self.smin32 <= other.smin32
            && self.smax32 >= other.smax32
    }
}
