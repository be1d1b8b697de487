//! The agent: puts the data plane into the kernel, watches it, and takes it out again without losing a byte.
//!
//! [`Acceleration::start`] loads and attaches; the value it returns holds every descriptor, and [`Acceleration::stop`]
//! detaches: no new connections, soft switch, drain, then nothing of it is left in the kernel. What is to outlive its
//! process is pinned: see [`lifecycle`].

mod acceleration;
mod adoption;
mod attachment;
mod calls;
mod changes;
pub mod check;
mod drain;
mod error;
mod kernel;
mod leave;
pub mod lifecycle;
mod load;
mod log;
mod privileges;
mod problem;
pub mod readers;
mod reading;
mod snapshot;
mod specs;
mod states;
mod tally;
mod tracking;
mod wake;

pub use acceleration::{Acceleration, Detached, Marked};
pub use adoption::{Adopted, Looks, adoption_support};
pub use calls::restrict_calls;
pub use changes::{ChangeWatch, monotonic};
pub use error::{Error, Result};
pub use kernel::{TierChoice, choose_tier, kernel_offsets, watch};
pub use load::{Loaded, Watching};
pub use log::set_log;
pub use privileges::{CAPABILITIES_TO_CHANGE_USER, capabilities, drop_privileges};
pub use problem::{Neighbour, Problem};
pub use reading::{MapUse, ProgramUse, Reading};
pub use snapshot::Snapshot;
pub use specs::{
    map_loads, map_specs, program_specs, simulated_adoption_fields, simulated_member_fields, simulated_offsets,
    simulated_trace_offsets, tracing_specs,
};
pub use states::StateReader;
pub use tracking::keepalive;
