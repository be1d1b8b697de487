//! Random programs as proptest takes them.

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::verifier_sim::spec::{ProgType, ProgramSpec};

use crate::random::program;

/// Programs, with shrinking.
pub(crate) fn programs() -> impl Strategy<Value = ProgramSpec> {
    (any::<bool>(), vec(any::<u32>(), 0..160))
        .prop_map(|(msg, choices)| program(if msg { ProgType::SK_MSG } else { ProgType::SOCK_OPS }, &choices))
}
