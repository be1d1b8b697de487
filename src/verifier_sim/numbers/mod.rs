//! What is known of a number: its bits and its ranges, how instructions change them, and what a condition implies.

pub(super) mod bounds;
pub(super) mod condition;
pub(super) mod scalar;
#[cfg(test)]
mod soundness;
pub(super) mod tnum;
