//! The cases: small functions that do something with sockets and log what they see.

mod accept;
mod bulk;
mod close;
mod options;
mod queue;
mod ready;
mod signal;
mod uring;
mod wait;
mod write;
mod zero_copy;

use crate::feature::Feature;
use crate::log::Log;
use crate::socket::Modes;

/// One case: its name in the matrix, and what it does.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Log, Modes),
    /// What not every supported kernel has.
    needs: Option<Feature>,
}

impl Case {
    /// Whether this kernel must have what the case is about; where it need not, that is said loudly.
    pub(crate) fn is_to_be_had(&self) -> bool {
        self.needs.is_none_or(|feature| feature.required(self.name))
    }
}

const fn case(name: &'static str, run: fn(Log, Modes)) -> Case {
    Case { name, run, needs: None }
}

const fn case_for(needs: Feature, name: &'static str, run: fn(Log, Modes)) -> Case {
    Case { name, run, needs: Some(needs) }
}

/// All of them, in the order of the matrix.
pub(crate) fn all() -> Vec<&'static Case> {
    let files: [&[Case]; 11] = [
        close::CASES,
        queue::CASES,
        ready::CASES,
        wait::CASES,
        signal::CASES,
        write::CASES,
        bulk::CASES,
        zero_copy::CASES,
        options::CASES,
        accept::CASES,
        uring::CASES,
    ];
    files.into_iter().flatten().collect()
}
