//! Measures again what looks wrong: a wake-up that comes late looks like a difference from plain TCP.

use std::error::Error;

use crate::cases::Case;
use crate::matrix;
use crate::runner::{Slots, Value};

/// How often a case is measured again. The machine has nothing else to do then, so a late wake-up is much rarer.
const TIMES: usize = 2;
/// So many cases at once are no late wake-up, and measuring them again could take hours, since each may hang.
const MOST: usize = 10;

/// Every case in every column. A case with a fault is measured again alone; the first measurement without one counts, or the last.
pub(crate) fn measure(slots: &Slots, cases: &[&Case]) -> Result<Vec<Vec<Value>>, Box<dyn Error>> {
    let mut values = slots.run(cases)?;
    for time in 1..=TIMES {
        let wrong = |index: &usize| !matrix::faults(cases[*index], &values[*index]).is_empty();
        let wrong: Vec<_> = (0..cases.len()).filter(wrong).collect();
        if wrong.len() > MOST {
            println!("semantics: {} cases are wrong, which is too many to measure them again", wrong.len());
            break;
        }
        for index in wrong {
            for fault in matrix::faults(cases[index], &values[index]) {
                println!("semantics: measured again, {time} of {TIMES} times: {fault}");
            }
            values[index] = slots.run_alone(cases[index])?;
        }
    }
    Ok(values)
}
