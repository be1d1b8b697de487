//! The metrics, as Prometheus reads them: the real one, of Debian's package `prometheus`, which also brings promtool. Needs
//! root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod fetch;
mod prometheus;
mod rules;
mod served;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
mod support;
mod textfile;

use std::net::SocketAddr;

use support::agent::{self, Agent};
use support::nested::NestedCgroups;

/// `sidestep run --metrics` on the inner cgroup, and where it listens.
pub(crate) fn start(cgroups: &NestedCgroups, flags: &[&str]) -> (Agent, SocketAddr) {
    let mut command = agent::command();
    command.args(["--interval", "1", "--trust", "all", "--metrics", "127.0.0.1:0", "--cgroup"]).arg(cgroups.path());
    // Beside the cgroup, so that it can be removed, and so that scrapes are not accelerated.
    cgroups.leave();
    let agent = Agent::start(command.args(flags));
    cgroups.enter();
    let address = agent.said.split_once("http://").unwrap().1.split_once('/').unwrap().0;
    let address = address.parse().unwrap();
    (agent, address)
}
