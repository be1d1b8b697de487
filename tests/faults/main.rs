//! What goes wrong in practice, and that it does no harm: receivers that do not read, full maps, killed peers, programs
//! replaced or detached by others, cgroups removed, bpffs unmounted, clocks that jump, memory limits, connection-tracking
//! entries that expire; and a soak of mixed connections. Needs root; what changes the whole machine runs in the guests of
//! tests/matrix only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod accepted;
mod askers;
mod clock;
mod edge;
mod full;
mod killed;
mod ktls;
mod memory;
mod memory_max;
mod neighbours;
mod pressure;
mod run;
mod small_group;
mod soak;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;
mod taken;
mod tcp_mem;
mod tracking;
mod unmounted;

use support::{feature, link, machine, nested};
