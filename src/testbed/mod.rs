//! Two pods on one machine: namespaces, a sidecar each, an app and a client.
//!
//! What Istio builds with several containers, this builds from one binary, so that `sidestep demo`, `sidestep bench`
//! and the integration tests need nothing but root and a kernel:
//!
//! ```text
//!   client pod                                          server pod
//!   client --VIP:80--> REDIRECT 15001  sidecar ==veth==> REDIRECT 15006  sidecar --127.0.0.6--> app :8080
//! ```
//! Nothing in here has a name on the machine: namespaces are held by descriptors and processes die with their parent,
//! so that even SIGKILL leaves nothing behind.

mod address;
mod cgroup;
mod client;
mod echo;
mod error;
mod flow;
mod hop;
mod netlink;
mod netns;
mod pattern;
mod pods;
mod process;
mod redirect;
mod report;
mod role;
mod rtnetlink;
mod server;
mod sidecar;
mod socket;
mod watched;

pub use address::{APP_ID, Addresses, INBOUND_PORT, OUTBOUND_PORT, SIDECAR_ID};
pub use cgroup::TemporaryCgroup;
pub use client::Workload;
pub use error::Error;
pub use hop::{Hop, Load, Measurement, run};
pub use netns::NetNs;
pub use pods::Pods;
pub use process::{Launcher, Process};
pub use report::{Latency, Report, Traffic};
pub use role::{COMMAND, Role, run_child};
pub use sidecar::Routing;
pub use socket::{StackBytes, accept, connect, listen, original_destination};
