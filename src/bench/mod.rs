//! The benchmark: plain and accelerated TCP side by side, in rounds that take turns.
//!
//! Whatever else the machine does falls on all variants alike, and ratios are taken round by round. CPU time is that of
//! the two ends' processes; the kernel does loopback's and veth's work in the sender's name, so that it is in there.

mod calibration;
mod cell;
mod cgroups;
mod compare;
mod error;
mod facts;
mod goals;
mod lane;
mod languages;
mod pair;
mod plan;
mod report;
mod results;
mod row;
mod run;
mod stats;
mod topology;
mod ungated;
mod worker;

pub use calibration::calibrate;
pub use cell::{Cell, Link, Placement, Variant, Workload};
pub use compare::compare;
pub use error::{Error, Result};
pub use facts::{PlaneFacts, ProbationFacts, ProgramFacts};
pub use goals::{Goal, Verdict};
pub use languages::Language;
pub use plan::Plan;
pub use report::{chart, write_directory, write_text};
pub use results::{Conditions, Pinned, Report, Row, Sample, VariantResult};
pub use row::Host;
pub use run::{cpus, run};
pub use stats::Estimate;
pub use worker::{COMMAND, run_worker};
