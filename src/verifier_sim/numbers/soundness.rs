//! What the simulator says of a number is true: every operation on [`Bounds`] holds every result of the same operation on
//! the values that they describe.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::asm::opcode as op;
use crate::verifier_sim::interp;
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::numbers::condition::{self, Cond};
use crate::verifier_sim::numbers::scalar::{self, Bitwise};
use crate::verifier_sim::numbers::tnum::Tnum;
use crate::verifier_sim::spec::Kernel;

/// Some values, and a description that is true of all of them.
#[derive(Clone, Debug)]
struct Sample {
    values: Vec<u64>,
    bounds: Bounds,
}

fn holds(bounds: &Bounds, value: u64) -> bool {
    let (signed, low, slow) = (value as i64, value as u32, value as i32);
    bounds.bits.contains(Tnum::known(value))
        && (bounds.umin..=bounds.umax).contains(&value)
        && (bounds.smin..=bounds.smax).contains(&signed)
        && (bounds.umin32..=bounds.umax32).contains(&low)
        && (bounds.smin32..=bounds.smax32).contains(&slow)
}

/// The narrowest description of these values, before [`Bounds::sync`].
fn hull(values: &[u64]) -> Bounds {
    let first = Bounds::known(values[0]);
    values.iter().fold(first, |all, value| {
        let mask = all.bits.mask | (all.bits.value ^ value);
        Bounds {
            bits: Tnum { value: value & !mask, mask },
            smin: all.smin.min(*value as i64),
            smax: all.smax.max(*value as i64),
            umin: all.umin.min(*value),
            umax: all.umax.max(*value),
            smin32: all.smin32.min(*value as i32),
            smax32: all.smax32.max(*value as i32),
            umin32: all.umin32.min(*value as u32),
            umax32: all.umax32.max(*value as u32),
        }
    })
}

/// A value, near those where signs and carries change.
fn value() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(vec![
        0,
        1 << 7,
        1 << 15,
        1 << 31,
        1 << 32,
        1 << 33,
        1 << 62,
        1 << 63,
        i64::from(i32::MIN) as u64,
        u64::from(u32::MAX),
    ]);
    prop_oneof![
        4 => (edge, -3..=3_i64).prop_map(|(edge, near)| edge.wrapping_add_signed(near)),
        2 => 0..300_u64,
        1 => any::<u32>().prop_map(u64::from),
        1 => any::<i32>().prop_map(|value| i64::from(value) as u64),
        1 => any::<u64>(),
    ]
}

/// Values and a synced description, of which some views were forgotten before.
fn sample() -> impl Strategy<Value = Sample> {
    // Values that are close to each other leave ranges of which something is known.
    let near = (value(), vec(0..20_u64, 0..4)).prop_map(|(first, more)| {
        let mut values = vec![first];
        values.extend(more.into_iter().map(|distance| first.wrapping_add(distance)));
        values
    });
    let values = prop_oneof![3 => near, 2 => vec(value(), 1..5)];
    (values, any::<[bool; 3]>()).prop_map(|(values, forget)| {
        let mut bounds = hull(&values);
        if forget[0] {
            bounds.bits = Tnum::UNKNOWN;
        }
        if forget[1] {
            bounds.forget64();
        }
        if forget[2] {
            bounds.forget32();
        }
        bounds.sync();
        Sample { values, bounds }
    })
}

fn kernel() -> impl Strategy<Value = Kernel> {
    prop::sample::select(Kernel::ALL.to_vec())
}

/// Checks `result` against the values that `concrete` computes.
fn check(
    what: &str,
    inputs: &[&Sample],
    result: &Bounds,
    results: impl Iterator<Item = u64>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(result.violation(), None, "{} of {:?}: {:?}", what, inputs, result);
    for value in results {
        prop_assert!(holds(result, value), "{what} of {inputs:?}: {result:?} without {value:#x}");
    }
    Ok(())
}

/// Results of an ALU instruction for every pair of values.
fn concrete<'a>(operation: u8, low: bool, a: &'a Sample, b: &'a Sample) -> impl Iterator<Item = u64> + 'a {
    let pairs = a.values.iter().flat_map(|x| b.values.iter().map(move |y| (*x, *y)));
    pairs.map(move |(x, y)| {
        if low {
            interp::alu::alu32(operation, 0, x as u32, y as u32).unwrap().into()
        } else {
            interp::alu::alu64(operation, 0, x, y).unwrap()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_synced_description_is_still_true(sample in sample()) {
        check("sync", &[&sample], &sample.bounds, sample.values.iter().copied())?;
        let mut again = sample.bounds;
        again.sync();
        check("sync again", &[&sample], &again, sample.values.iter().copied())?;
    }

    #[test]
    fn arithmetic_holds_every_result(a in sample(), b in sample(), kernel in kernel(), low in any::<bool>()) {
        for operation in [op::ADD, op::SUB, op::MUL, op::AND, op::OR, op::XOR] {
            let mut result = a.bounds;
            match operation {
                op::ADD => scalar::add(&mut result, &b.bounds, kernel),
                op::SUB => scalar::sub(&mut result, &b.bounds, kernel),
                op::MUL => scalar::mul(&mut result, &b.bounds, kernel),
                op::AND => scalar::bitwise(&mut result, &b.bounds, Bitwise::And),
                op::OR => scalar::bitwise(&mut result, &b.bounds, Bitwise::Or),
                _ => scalar::bitwise(&mut result, &b.bounds, Bitwise::Xor),
            }
            if low {
                result.zero_extend32();
            }
            result.sync();
            check(&format!("{operation:#x}"), &[&a, &b], &result, concrete(operation, low, &a, &b))?;
        }
    }

    #[test]
    fn shifts_hold_every_result(a in sample(), by in 0..64_u32, low in any::<bool>()) {
        let by = if low { by % 32 } else { by };
        let shift = Sample { values: vec![by.into()], bounds: Bounds::known(by.into()) };
        for operation in [op::LSH, op::RSH, op::ARSH] {
            let mut result = a.bounds;
            match operation {
                op::LSH => scalar::shl(&mut result, by, low),
                op::RSH => scalar::shr(&mut result, by, low),
                _ => scalar::sar(&mut result, by, low),
            }
            if low {
                result.zero_extend32();
            }
            result.sync();
            check(&format!("{operation:#x}"), &[&a, &shift], &result, concrete(operation, low, &a, &shift))?;
        }
    }

    #[test]
    fn a_negation_holds_every_result(a in sample(), low in any::<bool>()) {
        let mut result = a.bounds;
        scalar::neg(&mut result, Kernel::V6_18);
        if low {
            result.zero_extend32();
        }
        result.sync();
        check("neg", &[&a], &result, concrete(op::NEG, low, &a, &a))?;
    }

    #[test]
    fn a_distance_holds_every_result(a in sample(), distance in any::<i32>(), kernel in kernel()) {
        let mut result = a.bounds;
        scalar::add_known(&mut result, distance.into(), kernel);
        result.sync();
        check("distance", &[&a], &result, a.values.iter().map(|value| value.wrapping_add_signed(distance.into())))?;
    }

    #[test]
    fn casts_hold_every_result(a in sample()) {
        for size in [1_u32, 2, 4] {
            let mut result = a.bounds;
            result.truncate(size);
            check("truncate", &[&a], &result, a.values.iter().map(|value| value & ((1 << (8 * size)) - 1)))?;
            let mut result = a.bounds;
            result.sign_extend64(size);
            result.sync();
            let shift = 64 - 8 * size;
            let extended = a.values.iter().map(|value| ((value << shift) as i64 >> shift) as u64);
            check("sign_extend64", &[&a], &result, extended)?;
        }
        for size in [1_u32, 2] {
            let mut result = a.bounds;
            result.sign_extend32(size);
            result.zero_extend32();
            result.sync();
            let shift = 32 - 8 * size;
            let extended = a.values.iter().map(|value| (((*value as u32) << shift) as i32 >> shift) as u32);
            check("sign_extend32", &[&a], &result, extended.map(u64::from))?;
        }
    }

    #[test]
    fn comparisons_are_foretold_truly_and_teach_the_truth(a in sample(), b in sample(), low in any::<bool>()) {
        let class = if low { op::JMP32 } else { op::JMP };
        let jumps =
            [op::JEQ, op::JGT, op::JGE, op::JSET, op::JNE, op::JSGT, op::JSGE, op::JLT, op::JLE, op::JSLT, op::JSLE];
        for jump in jumps {
            let cond = Cond::from_operation(jump).unwrap();
            let foretold = condition::predict(cond, &a.bounds, &b.bounds, low);
            for (&x, &y) in a.values.iter().flat_map(|x| b.values.iter().map(move |y| (x, y))) {
                let taken = interp::alu::condition(class | jump, x, y).unwrap();
                prop_assert!(foretold.is_none_or(|foretold| foretold == taken), "{:?} {:?} {:?}", cond, a, b);
                // Only where nothing is foretold are both ways walked.
                if foretold.is_none() {
                    let (mut left, mut right) = (a.bounds, b.bounds);
                    let fact = if taken { cond } else { cond.negated() };
                    condition::refine(fact, &mut left, &mut right, low);
                    left.sync();
                    right.sync();
                    prop_assert!(holds(&left, x), "{:?} {:?} {:?}: left {:?} without {:#x}", fact, a, b, left, x);
                    prop_assert!(holds(&right, y), "{:?} {:?} {:?}: right {:?} without {:#x}", fact, a, b, right, y);
                }
            }
        }
    }
}

#[test]
fn known_operands_have_known_results() {
    // So that no operation can be "right" by knowing nothing.
    for (a, b) in [(0, 0), (1, u64::MAX), (1 << 63, 1 << 31), (0x1234_5678_9abc_def0, 77)] {
        let (left, right) = (Bounds::known(a), Bounds::known(b));
        let mut sum = left;
        scalar::add(&mut sum, &right, Kernel::V6_18);
        sum.sync();
        assert_eq!(sum, Bounds::known(a.wrapping_add(b)));
        let mut difference = left;
        scalar::sub(&mut difference, &right, Kernel::V6_18);
        difference.sync();
        assert_eq!(difference, Bounds::known(a.wrapping_sub(b)));
        let mut product = left;
        scalar::mul(&mut product, &right, Kernel::V6_18);
        product.sync();
        assert_eq!(product, Bounds::known(a.wrapping_mul(b)));
        for (kind, result) in [(Bitwise::And, a & b), (Bitwise::Or, a | b), (Bitwise::Xor, a ^ b)] {
            let mut bits = left;
            scalar::bitwise(&mut bits, &right, kind);
            assert_eq!(bits, Bounds::known(result));
        }
    }
}
