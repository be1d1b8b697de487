//! Looking after readers: which processes may earn the trust that redirected bytes need, and what becomes of one that
//! splices all the same.
//!
//! The programs in the kernel count and decide. They report each process that begins to read
//! ([`ReaderEvent`](crate::dataplane::ReaderEvent)); the agent admits it, unless its program is remembered as one that
//! splices, or is configured to. Where no agent runs, no process is admitted, and so none earns trust: a trusted process that splices all the
//! same needs an agent that resets its connection.

mod clerk;
mod configured;
mod destroy;
mod join;
mod look;
mod memory;
mod names;
mod program;
mod queue;
mod search;
mod watcher;

pub(super) use look::all;
pub use look::{Readers, Splicer};
pub use memory::SplicerMemory;
pub use watcher::{DrainOf, ReaderWatcher, WatchedMaps};

use super::log::say;
