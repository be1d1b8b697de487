//! Arithmetic on [`Bounds`]: what is known of the result of each ALU operation.

use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::spec::Kernel;

/// `(min1 op min2, max1 op max2)` by overflowing arithmetic: usable when neither or (6.17 and later) both ends overflow.
fn ends<T>(low: (T, bool), high: (T, bool), both_ok: bool) -> Option<(T, T)> {
    match (low.1, high.1) {
        (false, false) => Some((low.0, high.0)),
        (true, true) if both_ok => Some((low.0, high.0)),
        _ => None,
    }
}

/// dst + src.
pub(in crate::verifier_sim) fn add(dst: &mut Bounds, src: &Bounds, kernel: Kernel) {
    let both = kernel >= Kernel::V6_18;
    (dst.smin32, dst.smax32) =
        ends(dst.smin32.overflowing_add(src.smin32), dst.smax32.overflowing_add(src.smax32), false)
            .unwrap_or((i32::MIN, i32::MAX));
    (dst.umin32, dst.umax32) =
        ends(dst.umin32.overflowing_add(src.umin32), dst.umax32.overflowing_add(src.umax32), both)
            .unwrap_or((0, u32::MAX));
    (dst.smin, dst.smax) = ends(dst.smin.overflowing_add(src.smin), dst.smax.overflowing_add(src.smax), false)
        .unwrap_or((i64::MIN, i64::MAX));
    (dst.umin, dst.umax) =
        ends(dst.umin.overflowing_add(src.umin), dst.umax.overflowing_add(src.umax), both).unwrap_or((0, u64::MAX));
    dst.bits = dst.bits.add(src.bits);
}

/// dst - src.
pub(in crate::verifier_sim) fn sub(dst: &mut Bounds, src: &Bounds, kernel: Kernel) {
    let both = kernel >= Kernel::V6_18;
    (dst.smin32, dst.smax32) =
        ends(dst.smin32.overflowing_sub(src.smax32), dst.smax32.overflowing_sub(src.smin32), false)
            .unwrap_or((i32::MIN, i32::MAX));
    (dst.umin32, dst.umax32) =
        ends(dst.umin32.overflowing_sub(src.umax32), dst.umax32.overflowing_sub(src.umin32), both)
            .unwrap_or((0, u32::MAX));
    (dst.smin, dst.smax) = ends(dst.smin.overflowing_sub(src.smax), dst.smax.overflowing_sub(src.smin), false)
        .unwrap_or((i64::MIN, i64::MAX));
    (dst.umin, dst.umax) =
        ends(dst.umin.overflowing_sub(src.umax), dst.umax.overflowing_sub(src.umin), both).unwrap_or((0, u64::MAX));
    dst.bits = dst.bits.sub(src.bits);
}

/// -dst, which Linux 6.18 computes as 0 - dst.
pub(in crate::verifier_sim) fn neg(dst: &mut Bounds, kernel: Kernel) {
    let src = *dst;
    *dst = Bounds::known(0);
    sub(dst, &src, kernel);
    dst.bits = src.bits.neg();
}

/// dst * src.
pub(in crate::verifier_sim) fn mul(dst: &mut Bounds, src: &Bounds, kernel: Kernel) {
    if kernel < Kernel::V6_18 {
        dst.bits = dst.bits.mul_before_6_18(src.bits);
        mul_positive(dst, src);
        return;
    }
    dst.bits = dst.bits.mul(src.bits);
    (dst.umin32, dst.umax32) = match (dst.umin32.checked_mul(src.umin32), dst.umax32.checked_mul(src.umax32)) {
        (Some(min), Some(max)) => (min, max),
        _ => (0, u32::MAX),
    };
    (dst.umin, dst.umax) = match (dst.umin.checked_mul(src.umin), dst.umax.checked_mul(src.umax)) {
        (Some(min), Some(max)) => (min, max),
        _ => (0, u64::MAX),
    };
    let corners =
        [(dst.smin32, src.smin32), (dst.smin32, src.smax32), (dst.smax32, src.smin32), (dst.smax32, src.smax32)];
    (dst.smin32, dst.smax32) = corners
        .into_iter()
        .map(|(a, b)| a.checked_mul(b).map(|product| (product, product)))
        .reduce(|a, b| Some((a?.0.min(b?.0), a?.1.max(b?.1))))
        .flatten()
        .unwrap_or((i32::MIN, i32::MAX));
    let corners = [(dst.smin, src.smin), (dst.smin, src.smax), (dst.smax, src.smin), (dst.smax, src.smax)];
    (dst.smin, dst.smax) = corners
        .into_iter()
        .map(|(a, b)| a.checked_mul(b).map(|product| (product, product)))
        .reduce(|a, b| Some((a?.0.min(b?.0), a?.1.max(b?.1))))
        .flatten()
        .unwrap_or((i64::MIN, i64::MAX));
}

/// The ranges of a product before Linux 6.18: only of factors that are small and not negative.
fn mul_positive(dst: &mut Bounds, src: &Bounds) {
    let small32 = u32::from(u16::MAX);
    if src.smin32 < 0 || dst.smin32 < 0 || src.umax32 > small32 || dst.umax32 > small32 {
        dst.forget32();
    } else {
        dst.umin32 *= src.umin32;
        dst.umax32 *= src.umax32;
        signed32_from_unsigned(dst);
    }
    let small = u64::from(u32::MAX);
    if src.smin < 0 || dst.smin < 0 || src.umax > small || dst.umax > small {
        dst.forget64();
    } else {
        dst.umin *= src.umin;
        dst.umax *= src.umax;
        signed64_from_unsigned(dst);
    }
}

fn signed32_from_unsigned(dst: &mut Bounds) {
    (dst.smin32, dst.smax32) = if dst.umin32 as i32 <= dst.umax32 as i32 {
        (dst.umin32 as i32, dst.umax32 as i32)
    } else {
        (i32::MIN, i32::MAX)
    };
}

fn signed64_from_unsigned(dst: &mut Bounds) {
    (dst.smin, dst.smax) =
        if dst.umin as i64 <= dst.umax as i64 { (dst.umin as i64, dst.umax as i64) } else { (i64::MIN, i64::MAX) };
}

/// The three bitwise operations of two unknown operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Bitwise {
    /// dst & src.
    And,
    /// dst | src.
    Or,
    /// dst ^ src.
    Xor,
}

/// dst op src, bit by bit.
pub(in crate::verifier_sim) fn bitwise(dst: &mut Bounds, src: &Bounds, op: Bitwise) {
    dst.bits = match op {
        Bitwise::And => dst.bits.and(src.bits),
        Bitwise::Or => dst.bits.or(src.bits),
        Bitwise::Xor => dst.bits.xor(src.bits),
    };
    let known32 = dst.is_known(true) && src.is_known(true);
    let known64 = dst.is_known(false) && src.is_known(false);
    let low = dst.bits.subreg();
    if known32 {
        dst.set_known32(low.value as u32);
    } else {
        (dst.umin32, dst.umax32) = match op {
            Bitwise::And => (low.value as u32, dst.umax32.min(src.umax32)),
            Bitwise::Or => (dst.umin32.max(src.umin32), low.max() as u32),
            Bitwise::Xor => (low.value as u32, low.max() as u32),
        };
        signed32_from_unsigned(dst);
    }
    if known64 {
        *dst = Bounds::known(dst.bits.value);
        return;
    }
    (dst.umin, dst.umax) = match op {
        Bitwise::And => (dst.bits.value, dst.umax.min(src.umax)),
        Bitwise::Or => (dst.umin.max(src.umin), dst.bits.max()),
        Bitwise::Xor => (dst.bits.value, dst.bits.max()),
    };
    signed64_from_unsigned(dst);
    dst.ranges_from_bits();
}

fn shl_range32(dst: &mut Bounds, by: u32) {
    (dst.smin32, dst.smax32) = (i32::MIN, i32::MAX);
    if by > 31 || u64::from(dst.umax32) > 1u64 << (31 - by) {
        (dst.umin32, dst.umax32) = (0, u32::MAX);
    } else {
        dst.umin32 <<= by;
        dst.umax32 <<= by;
    }
}

/// dst << by, in 32 or 64 bits; `by` is below the width.
pub(in crate::verifier_sim) fn shl(dst: &mut Bounds, by: u32, alu32: bool) {
    if alu32 {
        let low = dst.bits.subreg();
        shl_range32(dst, by);
        dst.bits = low.shl(by).subreg();
        dst.forget64();
        dst.ranges32_from_bits();
        return;
    }
    // Shifting by 32 is how compilers begin a sign extension.
    (dst.smin, dst.smax) =
        if by == 32 { (i64::from(dst.smin32) << 32, i64::from(dst.smax32) << 32) } else { (i64::MIN, i64::MAX) };
    if dst.umax > 1u64 << (63 - by) {
        (dst.umin, dst.umax) = (0, u64::MAX);
    } else {
        dst.umin <<= by;
        dst.umax <<= by;
    }
    shl_range32(dst, by);
    dst.bits = dst.bits.shl(by);
    dst.ranges_from_bits();
}

/// dst >> by without sign, in 32 or 64 bits; `by` is below the width.
pub(in crate::verifier_sim) fn shr(dst: &mut Bounds, by: u32, alu32: bool) {
    if alu32 {
        (dst.smin32, dst.smax32) = (i32::MIN, i32::MAX);
        dst.bits = dst.bits.subreg().shr(by);
        dst.umin32 >>= by;
        dst.umax32 >>= by;
        dst.forget64();
        dst.ranges32_from_bits();
        return;
    }
    (dst.smin, dst.smax) = (i64::MIN, i64::MAX);
    dst.bits = dst.bits.shr(by);
    dst.umin >>= by;
    dst.umax >>= by;
    dst.forget32();
    dst.ranges_from_bits();
}

/// dst >> by with sign, in 32 or 64 bits; `by` is below the width.
pub(in crate::verifier_sim) fn sar(dst: &mut Bounds, by: u32, alu32: bool) {
    if alu32 {
        dst.smin32 >>= by;
        dst.smax32 >>= by;
        dst.bits = dst.bits.subreg().sar(by, 32);
        (dst.umin32, dst.umax32) = (0, u32::MAX);
        dst.forget64();
        dst.ranges32_from_bits();
        return;
    }
    dst.smin >>= by;
    dst.smax >>= by;
    dst.bits = dst.bits.sar(by, 64);
    (dst.umin, dst.umax) = (0, u64::MAX);
    dst.forget32();
    dst.ranges_from_bits();
}

/// dst + a known delta: the relation between linked registers.
pub(in crate::verifier_sim) fn add_known(dst: &mut Bounds, delta: i64, kernel: Kernel) {
    add(dst, &Bounds::known(delta as u64), kernel);
}
