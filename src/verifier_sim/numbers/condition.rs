//! Conditions: what is known of their outcome, and what their outcome implies (`is_branch_taken`, `regs_refine_cond_op`).

use crate::asm::opcode as op;
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::numbers::tnum::Tnum;

/// A condition; the jump's operation, or that no bit is common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Some bit is common.
    Set,
    /// No bit is common.
    Clear,
    /// Unsigned comparisons.
    Gt,
    Ge,
    Lt,
    Le,
    /// Signed comparisons.
    Sgt,
    Sge,
    Slt,
    Sle,
}

impl Cond {
    /// The condition of a jump's operation.
    pub(in crate::verifier_sim) fn from_operation(operation: u8) -> Option<Self> {
        Some(match operation {
            op::JEQ => Self::Eq,
            op::JNE => Self::Ne,
            op::JSET => Self::Set,
            op::JGT => Self::Gt,
            op::JGE => Self::Ge,
            op::JLT => Self::Lt,
            op::JLE => Self::Le,
            op::JSGT => Self::Sgt,
            op::JSGE => Self::Sge,
            op::JSLT => Self::Slt,
            op::JSLE => Self::Sle,
            _ => return None,
        })
    }

    /// The condition that holds exactly when this one does not.
    pub(in crate::verifier_sim) fn negated(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Set => Self::Clear,
            Self::Clear => Self::Set,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Sgt => Self::Sle,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Sle => Self::Sgt,
        }
    }

    /// The condition with its operands exchanged.
    pub(in crate::verifier_sim) fn swapped(self) -> Self {
        match self {
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Sgt => Self::Slt,
            Self::Sge => Self::Sle,
            Self::Slt => Self::Sgt,
            Self::Sle => Self::Sge,
            same => same,
        }
    }
}

/// Both views of a number that a comparison uses.
struct View {
    bits: Tnum,
    umin: u64,
    umax: u64,
    smin: i64,
    smax: i64,
}

fn view(bounds: &Bounds, low: bool) -> View {
    if low {
        View {
            bits: bounds.bits.subreg(),
            umin: bounds.umin32.into(),
            umax: bounds.umax32.into(),
            smin: bounds.smin32.into(),
            smax: bounds.smax32.into(),
        }
    } else {
        View { bits: bounds.bits, umin: bounds.umin, umax: bounds.umax, smin: bounds.smin, smax: bounds.smax }
    }
}

/// Whether the condition certainly holds or certainly does not; `low` compares only the lower halves.
pub(in crate::verifier_sim) fn predict(cond: Cond, left: &Bounds, right: &Bounds, low: bool) -> Option<bool> {
    let (a, b) = (view(left, low), view(right, low));
    let ordered = |always: bool, never: bool| match (always, never) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    match cond {
        Cond::Eq => equal(&a, &b, left, right, low),
        Cond::Ne => equal(&a, &b, left, right, low).map(|equal| !equal),
        Cond::Set | Cond::Clear => {
            let (mask, other) = if b.bits.is_known() { (b.bits.value, a.bits) } else { (a.bits.value, b.bits) };
            if !a.bits.is_known() && !b.bits.is_known() {
                return None;
            }
            let common = ordered(other.value & mask != 0, other.max() & mask == 0);
            if cond == Cond::Set { common } else { common.map(|common| !common) }
        }
        Cond::Gt => ordered(a.umin > b.umax, a.umax <= b.umin),
        Cond::Ge => ordered(a.umin >= b.umax, a.umax < b.umin),
        Cond::Lt => ordered(a.umax < b.umin, a.umin >= b.umax),
        Cond::Le => ordered(a.umax <= b.umin, a.umin > b.umax),
        Cond::Sgt => ordered(a.smin > b.smax, a.smax <= b.smin),
        Cond::Sge => ordered(a.smin >= b.smax, a.smax < b.smin),
        Cond::Slt => ordered(a.smax < b.smin, a.smin >= b.smax),
        Cond::Sle => ordered(a.smax <= b.smin, a.smin > b.smax),
    }
}

fn equal(a: &View, b: &View, left: &Bounds, right: &Bounds, low: bool) -> Option<bool> {
    if a.bits.is_known() && b.bits.is_known() {
        return Some(a.bits.value == b.bits.value);
    }
    let apart = !a.bits.overlaps(b.bits)
        || a.umin > b.umax
        || a.umax < b.umin
        || a.smin > b.smax
        || a.smax < b.smin
        || (!low
            && (left.umin32 > right.umax32
                || left.umax32 < right.umin32
                || left.smin32 > right.smax32
                || left.smax32 < right.smin32));
    apart.then_some(false)
}

/// Narrows both operands by the fact that the condition holds. The caller syncs them.
pub(in crate::verifier_sim) fn refine(cond: Cond, left: &mut Bounds, right: &mut Bounds, low: bool) {
    match cond {
        Cond::Gt | Cond::Ge | Cond::Sgt | Cond::Sge => refine_less(cond.swapped(), right, left, low),
        Cond::Lt | Cond::Le | Cond::Slt | Cond::Sle => refine_less(cond, left, right, low),
        Cond::Eq => refine_equal(left, right, low),
        Cond::Ne | Cond::Set | Cond::Clear => {
            let (known, other) = match (right.value(low), left.value(low)) {
                (Some(value), _) => (value, left),
                (None, Some(value)) => (value, right),
                (None, None) => return,
            };
            refine_by_known(cond, other, known, low);
        }
    }
}

fn refine_equal(a: &mut Bounds, b: &mut Bounds, low: bool) {
    if low {
        a.umin32 = a.umin32.max(b.umin32);
        a.umax32 = a.umax32.min(b.umax32);
        a.smin32 = a.smin32.max(b.smin32);
        a.smax32 = a.smax32.min(b.smax32);
        (b.umin32, b.umax32, b.smin32, b.smax32) = (a.umin32, a.umax32, a.smin32, a.smax32);
        let both = a.bits.subreg().intersect(b.bits.subreg());
        a.bits = a.bits.with_subreg(both);
        b.bits = b.bits.with_subreg(both);
    } else {
        a.umin = a.umin.max(b.umin);
        a.umax = a.umax.min(b.umax);
        a.smin = a.smin.max(b.smin);
        a.smax = a.smax.min(b.smax);
        (b.umin, b.umax, b.smin, b.smax) = (a.umin, a.umax, a.smin, a.smax);
        a.bits = a.bits.intersect(b.bits);
        b.bits = a.bits;
    }
}

fn refine_by_known(cond: Cond, reg: &mut Bounds, value: u64, low: bool) {
    let bits = |reg: &mut Bounds, change: &dyn Fn(Tnum) -> Tnum| {
        reg.bits = if low { reg.bits.with_subreg(change(reg.bits.subreg())) } else { change(reg.bits) };
    };
    match cond {
        // An excluded value at the end of a range shortens it.
        Cond::Ne if low => {
            let value = value as u32;
            reg.umin32 = reg.umin32.wrapping_add(u32::from(reg.umin32 == value));
            reg.umax32 = reg.umax32.wrapping_sub(u32::from(reg.umax32 == value));
            reg.smin32 = reg.smin32.wrapping_add(i32::from(reg.smin32 == value as i32));
            reg.smax32 = reg.smax32.wrapping_sub(i32::from(reg.smax32 == value as i32));
        }
        Cond::Ne => {
            reg.umin = reg.umin.wrapping_add(u64::from(reg.umin == value));
            reg.umax = reg.umax.wrapping_sub(u64::from(reg.umax == value));
            reg.smin = reg.smin.wrapping_add(i64::from(reg.smin == value as i64));
            reg.smax = reg.smax.wrapping_sub(i64::from(reg.smax == value as i64));
        }
        // Only one bit can be the common one.
        Cond::Set if value.is_power_of_two() => bits(reg, &|known| known.or(Tnum::known(value))),
        Cond::Clear => {
            reg.forget_ranges();
            bits(reg, &|known| known.and(Tnum::known(!value)));
        }
        _ => {}
    }
}

/// a < b or a <= b, signed or not. The kernel's arithmetic wraps at the ends; such ranges are contradictory then.
fn refine_less(cond: Cond, a: &mut Bounds, b: &mut Bounds, low: bool) {
    match (cond, low) {
        (Cond::Le, true) => {
            a.umax32 = a.umax32.min(b.umax32);
            b.umin32 = b.umin32.max(a.umin32);
        }
        (Cond::Le, false) => {
            a.umax = a.umax.min(b.umax);
            b.umin = b.umin.max(a.umin);
        }
        (Cond::Lt, true) => {
            a.umax32 = a.umax32.min(b.umax32.wrapping_sub(1));
            b.umin32 = b.umin32.max(a.umin32.wrapping_add(1));
        }
        (Cond::Lt, false) => {
            a.umax = a.umax.min(b.umax.wrapping_sub(1));
            b.umin = b.umin.max(a.umin.wrapping_add(1));
        }
        (Cond::Sle, true) => {
            a.smax32 = a.smax32.min(b.smax32);
            b.smin32 = b.smin32.max(a.smin32);
        }
        (Cond::Sle, false) => {
            a.smax = a.smax.min(b.smax);
            b.smin = b.smin.max(a.smin);
        }
        (Cond::Slt, true) => {
            a.smax32 = a.smax32.min(b.smax32.wrapping_sub(1));
            b.smin32 = b.smin32.max(a.smin32.wrapping_add(1));
        }
        (_, true) => {}
        (Cond::Slt, false) => {
            a.smax = a.smax.min(b.smax.wrapping_sub(1));
            b.smin = b.smin.max(a.smin.wrapping_add(1));
        }
        (_, false) => {}
    }
}
