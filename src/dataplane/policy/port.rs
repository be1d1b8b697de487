//! Server ports: lists of ranges become one sorted list of boundaries, and that a tree of comparisons.

use crate::asm::Reg::R1;
use crate::asm::{Asm, Label, Uses};
use crate::dataplane::kernel::ctx::SOCK_OPS;
use crate::dataplane::options::PortRange;
use crate::dataplane::pairing::address::{End, load_port};

/// The ports at which belonging to the set begins or ends, in turn and rising: what is in `included` (all, when it is
/// empty) and not in `excluded`. `None` when every port belongs.
pub(in crate::dataplane) fn boundaries(included: &[PortRange], excluded: &[PortRange]) -> Option<Vec<u16>> {
    let mut belongs = vec![included.is_empty(); 1 << 16];
    for (ranges, value) in [(included, true), (excluded, false)] {
        for range in ranges {
            if let Some(part) = belongs.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                part.fill(value);
            }
        }
    }
    let mut inside = false;
    let mut found = Vec::new();
    for (port, belongs) in (0..=u16::MAX).zip(belongs) {
        if belongs != inside {
            found.push(port);
            inside = belongs;
        }
    }
    (found != [0]).then_some(found)
}

/// Goes on when the port of `end` is inside `boundaries`, else to `no`.
#[track_caller]
pub(in crate::dataplane) fn require(a: &mut Asm, boundaries: &[u16], end: End, no: Label) {
    a.emitter("port", Uses::nothing().reads(SOCK_OPS.reg()).writes(R1), |a| {
        a.block("port_admitted", |a, yes| {
            load_port(a, R1, end);
            halve(a, boundaries, false, yes, no);
        });
    });
}

/// Goes to `yes` when R1 is inside; `inside` says what holds below the first of `boundaries`.
#[track_caller]
fn halve(a: &mut Asm, boundaries: &[u16], inside: bool, yes: Label, no: Label) {
    let middle = boundaries.len() / 2;
    let Some(boundary) = boundaries.get(middle) else {
        a.goto(if inside { yes } else { no });
        return;
    };
    a.idiom("halve", Uses::nothing().reads(R1), |a| {
        let above = a.label("port_above");
        a.jump_if(R1.at_least(i32::from(*boundary)), above);
        halve(a, &boundaries[..middle], inside, yes, no);
        a.bind(above);
        halve(a, &boundaries[middle + 1..], inside ^ middle.is_multiple_of(2), yes, no);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> Vec<PortRange> {
        text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
    }

    #[test]
    fn boundaries_are_those_of_the_difference() {
        let of = |included, excluded| boundaries(&ranges(included), &ranges(excluded));
        assert_eq!(of("", ""), None);
        let all = [PortRange { first: 0, last: u16::MAX }];
        assert_eq!(boundaries(&all, &[]), None);
        assert_eq!(of("80", ""), Some(vec![80, 81]));
        assert_eq!(of("", "80"), Some(vec![0, 80, 81]));
        assert_eq!(of("8000-8100,80,8050-8200", "8100-8150"), Some(vec![80, 81, 8000, 8100, 8151, 8201]));
        assert_eq!(of("65535", ""), Some(vec![65535]));
        assert_eq!(boundaries(&[], &all), Some(vec![]));
    }
}
