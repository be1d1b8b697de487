//! Measures again what looks wrong: a wake-up that comes late looks like a difference from plain TCP.

use std::error::Error;

use crate::cases::Case;
use crate::matrix;
use crate::runner::{Slots, Value};

/// How often a case is measured again. The machine has nothing else to do then, so a late wake-up is much rarer.
const TIMES: usize = 2;
/// A late wake-up does not make so many cases wrong at once. To measure them again could take hours, since each may hang.
const MOST: usize = 10;

/// Every case in every column. A case with a fault is measured again alone. Unless it is right each time, what was wrong counts.
pub(crate) fn measure(slots: &Slots, cases: &[&Case]) -> Result<Vec<Vec<Value>>, Box<dyn Error>> {
    let mut values = slots.run(cases)?;
    let faults = |index: usize, values: &[Value]| matrix::faults(cases[index], values);
    let wrong: Vec<_> = (0..cases.len()).filter(|index| !faults(*index, &values[*index]).is_empty()).collect();
    if wrong.len() > MOST {
        println!("semantics: {} cases are wrong, which is too many to measure them again", wrong.len());
        return Ok(values);
    }
    for index in wrong {
        for fault in faults(index, &values[index]) {
            println!("semantics: measured again, {TIMES} times: {fault}");
        }
        for _ in 0..TIMES {
            values[index] = slots.run_alone(cases[index])?;
            if !faults(index, &values[index]).is_empty() {
                break;
            }
        }
    }
    Ok(values)
}
