//! The kernel's known faults in what sidestep uses: which of them this kernel has, and which of these are a reason not to start.
//!
//! The list is data ([`LIST`]). Where a fault shows itself, in the kernel's types or on a loopback connection, that decides.
//! A version never decides for certain: distributions take corrections back into older kernels, and a version does not say
//! which.

mod fault;
mod judge;
mod list;
mod order;
mod probes;
mod stated_version;

#[cfg(test)]
mod uses;

pub use fault::{Effect, Evidence, Fault, FaultFacts, Probe, Reach};
pub use list::{DATE, LIST};
pub use stated_version::listed;

use super::finding::Finding;
use crate::agent::error::{Error, Result};
use judge::Facts;

/// One finding a fault.
pub(super) fn all() -> Vec<Finding> {
    let facts = Facts::of_everything();
    LIST.iter().map(|fault| judge::finding(fault, &facts)).collect()
}

/// What speaks against accelerating anything on this kernel, a sentence each: it is certain that it would lose data or crash.
pub fn forbidding() -> Vec<String> {
    judge::forbidding(&Facts::of_what_forbids())
}

/// Fails on a kernel that would lose data or crash.
pub fn refuse() -> Result<()> {
    match forbidding().as_slice() {
        [] => Ok(()),
        found => Err(Error::Unsupported {
            what: "this kernel must not be used",
            why: found.join("; "),
            remedy: "use another kernel; --force accelerates on this one, at your own risk",
        }),
    }
}
