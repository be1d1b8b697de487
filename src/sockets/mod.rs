//! Every TCP socket of every process on this machine, in every network namespace, and which two of them are one
//! connection.
//!
//! A BPF iterator over all open files of all tasks (`iter/task_file`, Linux 5.8) writes one
//! fixed [`Record`] for each TCP socket: [`program`] assembles it, [`scan`] runs it, [`join`] finds the two ends of each local
//! connection.
//!
//! The two ends know the same two initial sequence numbers, at any moment of the connection's life. NAT and network
//! namespaces do not change them, so no address takes part in the join.

mod fields;
mod join;
pub mod objects;
pub mod program;
mod record;
mod scan;

pub use fields::{CgroupOffsets, FIELDS, SocketOffsets, TrackingOffsets};
pub use join::{Connection, Connections, join};
pub use program::SocketAccess;
pub use record::{Record, TcpState};
pub use scan::{Scanner, scan};
