//! What this machine lets sidestep do, found out by trying: `sidestep check`.
//!
//! One file a family of probes. The kernel's version decides nothing but whether it may have one of the known
//! [`faults`]. What is tried is taken away again.

mod attach;
mod behaviour;
pub mod faults;
mod finding;
mod helpers;
mod maps;
mod pair;
mod privileges;
mod programs;
mod system;

use std::path::Path;

pub use finding::{Answer, Finding, Need, Report};

use super::error::{Error, Result};
use crate::dataplane::Config;
use crate::syscall::caps::{Capabilities, Capability};
use crate::syscall::memlock;

/// The configuration for this machine: the default, but for what the FIONREAD probes say and connection tracking needs.
///
/// # Errors
///
/// When the probes cannot tell: readers that trust FIONREAD would stall if it were guessed.
pub fn configuration() -> Result<Config> {
    let config = Config { keepalive: super::keepalive(), ..Config::default() };
    let capabilities = Capabilities::effective()?;
    if ![Capability::Bpf, Capability::NetAdmin].into_iter().all(|needed| capabilities.grants(needed)) {
        // Nothing can be loaded, and who tries it is told why.
        return Ok(config);
    }
    memlock::raise_if_needed()?;
    let [redirect_unaccepted, spare_askers] = behaviour::fionread_misses().or_else(|why| {
        // Where no sockhash can be made, that error says more.
        pair::sockhash()?;
        Err(Error::Unsupported {
            what: "cannot find out whether ioctl(FIONREAD) sees redirected bytes",
            why,
            remedy: "see `sidestep check`, and try again",
        })
    })?;
    Ok(Config { redirect_unaccepted, spare_askers, ..config })
}

/// Asks everything; with a cgroup, also who is attached to it.
pub fn check(cgroup: Option<&Path>) -> Report {
    // Where this fails, the finding on CAP_SYS_RESOURCE says so.
    let _ = memlock::raise_if_needed();
    let mut findings = system::mounts();
    findings.extend(privileges::all());
    findings.extend(system::kernel());
    findings.extend(maps::all());
    findings.extend(helpers::all());
    findings.extend(programs::all());
    findings.extend(attach::all(cgroup));
    findings.push(attach::neighbours());
    findings.extend(behaviour::all());
    findings.extend(faults::all());
    Report::new(findings)
}
