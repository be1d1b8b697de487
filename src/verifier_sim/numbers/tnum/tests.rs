//! Every operation on every pair of tristate numbers of four unknown-or-known bits, against the values they stand for.

use super::Tnum;

/// Where the four bits lie: at either end, across the halves, apart, and across bytes.
const PLACES: [[u32; 4]; 5] = [[0, 1, 2, 3], [60, 61, 62, 63], [30, 31, 32, 33], [0, 31, 32, 63], [7, 8, 15, 16]];

/// All 81 numbers with these bits known or not, the others zero.
fn numbers(places: [u32; 4]) -> Vec<Tnum> {
    let digit = |code: u32, index: u32| code / 3_u32.pow(index) % 3;
    (0..81)
        .map(|code| {
            let mut number = Tnum::known(0);
            for (index, place) in (0..).zip(places) {
                match digit(code, index) {
                    0 => {}
                    1 => number.value |= 1 << place,
                    _ => number.mask |= 1 << place,
                }
            }
            number
        })
        .collect()
}

/// All values that a number stands for.
fn values(number: Tnum) -> Vec<u64> {
    let mut all = vec![number.value];
    for bit in (0..64).filter(|bit| number.mask >> bit & 1 != 0) {
        all.extend_from_within(..);
        let half = all.len() / 2;
        all[half..].iter_mut().for_each(|value| *value |= 1 << bit);
    }
    all
}

fn has(number: Tnum, value: u64) -> bool {
    value & !number.mask == number.value
}

/// The least number that stands for all of these values.
fn hull(values: impl IntoIterator<Item = u64>) -> Tnum {
    values.into_iter().map(Tnum::known).reduce(Tnum::union).unwrap()
}

#[track_caller]
fn unary(name: &str, number: Tnum, result: Tnum, concrete: impl Fn(u64) -> u64) {
    assert_eq!(result.value & result.mask, 0, "{name} {number}: {result} has bits that are known and unknown");
    for value in values(number) {
        assert!(has(result, concrete(value)), "{name} {number} = {result}, without {name} {value:#x}");
    }
}

/// The name of an operation, the operation, and the same on values.
type Binary = (&'static str, fn(Tnum, Tnum) -> Tnum, fn(u64, u64) -> u64);

#[test]
fn binary_operations_hold_every_result() {
    let operations: [Binary; 7] = [
        ("+", Tnum::add, u64::wrapping_add),
        ("-", Tnum::sub, u64::wrapping_sub),
        ("&", Tnum::and, |a, b| a & b),
        ("|", Tnum::or, |a, b| a | b),
        ("^", Tnum::xor, |a, b| a ^ b),
        ("*", Tnum::mul, u64::wrapping_mul),
        ("* before 6.18", Tnum::mul_before_6_18, u64::wrapping_mul),
    ];
    for places in PLACES {
        let numbers = numbers(places);
        for (name, operation, concrete) in operations {
            for &a in &numbers {
                for &b in &numbers {
                    let result = operation(a, b);
                    assert_eq!(result.value & result.mask, 0, "{a} {name} {b} = {result}");
                    for x in values(a) {
                        for y in values(b) {
                            assert!(
                                has(result, concrete(x, y)),
                                "{a} {name} {b} = {result}, without {x:#x} and {y:#x}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn sums_and_bitwise_operations_are_as_narrow_as_can_be() {
    // The kernel's algorithms for these are optimal; a coarser one would refuse programs that the kernel takes.
    let operations: [Binary; 5] = [
        ("+", Tnum::add, u64::wrapping_add),
        ("-", Tnum::sub, u64::wrapping_sub),
        ("&", Tnum::and, |a, b| a & b),
        ("|", Tnum::or, |a, b| a | b),
        ("^", Tnum::xor, |a, b| a ^ b),
    ];
    for places in PLACES {
        let numbers = numbers(places);
        for (name, operation, concrete) in operations {
            for &a in &numbers {
                for &b in &numbers {
                    let pairs = values(a).into_iter().flat_map(|x| values(b).into_iter().map(move |y| concrete(x, y)));
                    assert_eq!(operation(a, b), hull(pairs), "{a} {name} {b}");
                }
            }
        }
    }
}

#[test]
fn unary_operations_hold_every_result() {
    for number in PLACES.into_iter().flat_map(numbers) {
        unary("-", number, number.neg(), u64::wrapping_neg);
        unary("subreg", number, number.subreg(), |value| u64::from(value as u32));
        unary("clear", number, number.clear_subreg(), |value| value & 0xffff_ffff_0000_0000);
        for size in [1, 2, 4, 8] {
            unary("cast", number, number.cast(size), |value| value & (u64::MAX >> (64 - 8 * size)));
        }
        unary("swap 2", number, number.swap_bytes(2), |value| (value as u16).swap_bytes().into());
        unary("swap 4", number, number.swap_bytes(4), |value| (value as u32).swap_bytes().into());
        unary("swap 8", number, number.swap_bytes(8), u64::swap_bytes);
        for by in [0, 1, 2, 31, 32, 33, 63] {
            unary("<<", number, number.shl(by), |value| value << by);
            unary(">>", number, number.shr(by), |value| value >> by);
            unary("s>>", number, number.sar(by, 64), |value| ((value as i64) >> by) as u64);
            if by < 32 {
                let low = number.subreg();
                unary("s>> 32", low, low.sar(by, 32), |value| u64::from(((value as i32) >> by) as u32));
            }
        }
    }
}

#[test]
fn sets_of_numbers() {
    for places in PLACES {
        let numbers = numbers(places);
        for &a in &numbers {
            let inside = values(a);
            assert_eq!(a.is_known(), inside.len() == 1);
            assert_eq!(Some(a.max()), inside.iter().copied().max());
            for size in [1_u64, 2, 4, 8] {
                assert_eq!(a.is_aligned(size), inside.iter().all(|value| value % size == 0), "{a} at {size}");
            }
            for &b in &numbers {
                let others = values(b);
                let common: Vec<_> = inside.iter().copied().filter(|value| others.contains(value)).collect();
                assert_eq!(a.overlaps(b), !common.is_empty(), "{a} and {b}");
                assert_eq!(a.contains(b), common.len() == others.len(), "{a} of {b}");
                if !common.is_empty() {
                    assert_eq!(a.intersect(b), hull(common), "{a} and {b}");
                }
                assert_eq!(a.union(b), hull(inside.iter().chain(&others).copied()), "{a} or {b}");
                unary("with_subreg", a, a.with_subreg(b), |value| {
                    value & 0xffff_ffff_0000_0000 | others[0] as u32 as u64
                });
            }
        }
    }
}

#[test]
fn ranges_hold_both_ends_and_all_between() {
    let ends = [0, 1, 2, 3, 5, 8, 13, 255, 256, u64::from(u32::MAX), 1 << 32, u64::MAX >> 1, 1 << 63, u64::MAX];
    for min in ends {
        for max in ends.into_iter().filter(|max| *max >= min) {
            let range = Tnum::range(min, max);
            for value in [min, max, min + (max - min) / 2, min + (max - min) / 3] {
                assert!(has(range, value), "{min}..={max} is {range}, without {value}");
            }
        }
    }
}

#[test]
fn the_next_value_is_the_next_one_in_the_set() {
    for number in PLACES.into_iter().flat_map(numbers) {
        let mut inside = values(number);
        inside.sort_unstable();
        for probe in inside.iter().flat_map(|value| [value.wrapping_sub(1), *value, value.wrapping_add(1)]) {
            let next = inside.iter().copied().find(|value| *value > probe).unwrap_or(number.max());
            assert_eq!(number.next_above(probe), next, "{number} above {probe:#x}");
        }
    }
}
