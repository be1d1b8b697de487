//! Data planes that outlive the process that attached them.
//!
//! One or more cgroups, one [`Instance`]: a directory of pins, named by the first cgroup.
//!
//! ```text
//! BPFFS/sidestep/v2/c<cgroup id>/   flock(2) on this directory serialises changes
//!     link                         the sock_ops program's place on that cgroup
//!     link_<cgroup id>             its place on another cgroup of the instance
//!     owner/                       flock(2) on it: a `sidestep run` owns the instance; what it says of reloads
//!     g<number>/                   a generation: maps, programs, the sockhash's link, the record
//!     staging/  retired/           half a generation: not yet, or no longer, in use
//! ```
//!
//! The state is in the kernel alone. The generation whose sock_ops program the first link holds is the live one; every
//! other is on its way out. So after a crash at any step, the next change finds out what is attached (`reconcile`),
//! completes or undoes what was begun, and goes on. [`Steps`] lets a test crash after each step.
//!
//! A bpf file system holds no files, hence locks on directories: they work on read-only roots, are seen from every
//! container that has the file system, and go with the process. A directory that another user owns, can write to, or
//! has replaced by a symbolic link is refused, unless it is an instance that root has given to that user.

mod adopt;
mod attach;
mod cgroups;
mod detach;
mod generation;
mod given;
pub(super) mod inventory;
mod lock;
mod pins;
mod readers;
mod reading;
mod reconcile;
mod record;
mod reload;
mod status;
mod upgrade;
mod watch;

pub use attach::{Outcome, Request};
pub use cgroups::{Added, AttachedCgroup, Removed, outermost};
pub use detach::{Detached, Leftovers};
pub use inventory::{Orphan, Orphans};
pub use lock::OwnerLock;
pub use pins::{Instance, Pins};
pub use readers::ReaderAttendance;
pub use record::Record;
pub use reload::{ReloadAnswer, ReloadBoard};
pub use status::{GenerationStatus, InstanceStatus, Object, State, Status};
pub use watch::InstanceWatch;

/// Called after each step that changed something, with the name of the step.
pub type Steps<'a> = &'a mut dyn FnMut(&'static str);
