//! What the data plane tells, for Prometheus: the families (`families`), the two text formats that scrapers and
//! node_exporter read, and a small HTTP server ([`http`]).
//!
//! No label names a connection, a process or an address: the number of series depends on the number of data planes alone.
//! Every series is there from the start, with zero where nothing has happened.

mod families;
pub mod http;
mod names;
mod pods;
mod text;

pub use families::{Facts, StateCounts, openmetrics};
pub use pods::PodFacts;
pub use text::plain;

/// The content type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of [`plain`].
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
