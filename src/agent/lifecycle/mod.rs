//! Data planes that outlive the process that attached them.
//!
//! One cgroup, one [`Instance`]: a folder of pins.
//!
//! ```text
//! BPFFS/sidestep/v1/c<cgroup id>/   flock(2) on this folder serialises changes
//!     link                         the sock_ops program's place on the cgroup
//!     attended/                    flock(2) on it: a `sidestep run` looks after the instance
//!     g<number>/                   a generation: maps, programs, the sockhash's link, the record
//!     making/  removing/           half a generation: not yet, or no longer, in use
//! ```
//!
//! The state is in the kernel alone. The generation whose sock_ops program the link holds is the live one; every
//! other is on its way out. So whatever step a crash comes after, the next change finds out where things stand
//! (`reconcile`), finishes or undoes what was begun, and goes on. [`Steps`] lets a test crash after each.
//!
//! A bpf file system holds no files, hence locks on folders: they work on read-only roots, are seen from every
//! container that has the file system, and go with the process.

mod attach;
mod detach;
mod generation;
mod inventory;
mod lock;
mod pins;
mod reconcile;
mod record;
mod status;
mod upgrade;

pub use attach::{Outcome, Request};
pub use detach::{Detached, Leftovers};
pub use inventory::{Orphan, Orphans};
pub use lock::OwnerLock;
pub use pins::{Instance, Pins};
pub use record::Record;
pub use status::{GenerationStatus, InstanceStatus, Object, State, Status};

/// Called after each step that changed something, with the name of the step.
pub type Steps<'a> = &'a mut dyn FnMut(&'static str);
