//! The documents: every link leads somewhere, and the reference says what the code does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod command_line;
mod counters;
mod faults;
mod generated;
mod links;
mod variants;
