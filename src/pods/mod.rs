//! The pods of this node, by the container runtime's word: which there are, which of them are to be accelerated, and where their
//! cgroups are.
//!
//! [`cri`] speaks with the runtime (the Kubernetes Container Runtime Interface, version 1). [`read`] asks once, and
//! [`running`] only for names; a [`Watch`] goes on asking in a thread of its own. A [`Rule`] decides on a pod by its labels and annotations, and [`find_cgroup`] finds
//! its cgroup by its UID. A pod of which nothing has been read is not accelerated, so one that opts out never is.

mod cgroup;
pub mod cri;
mod error;
mod listing;
mod pod;
mod rule;
mod selector;
mod socket;
mod watch;

pub use cgroup::find_cgroup;
pub use error::{Error, Result};
pub use listing::{Listing, read, running};
pub use pod::Pod;
pub use rule::{ANNOTATION, Decision, Rule};
pub use selector::Selector;
pub use socket::find_socket;
pub use watch::Watch;
