//! What goes wrong in practice, and that it does no harm: receivers that do not read, full maps, killed peers, programs
//! replaced or detached by others, cgroups removed, bpffs unmounted, clocks that jump, memory limits, connection-tracking
//! entries that expire; and a soak of mixed connections. Needs root; what changes the whole machine runs in the guests of
//! tests/matrix only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod askers;
mod clock;
mod edge;
#[path = "../kernel/feature.rs"]
mod feature;
mod full;
mod guest;
mod killed;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
#[path = "../dataplane/link.rs"]
mod link;
mod memory;
mod memory_max;
mod neighbours;
mod pressure;
mod run;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
#[path = "../dataplane/scope.rs"]
mod scope;
mod small_group;
mod soak;
mod taken;
mod tcp_mem;
mod tracking;
mod unmounted;
