//! The Container Runtime Interface, version 1: as much of it as is needed to know the pods.
//!
//! It is gRPC over a Unix socket: HTTP/2, for which the crate `h2` is there, with messages of protocol buffers (`prost`), each
//! behind a head of five bytes. No answer makes this panic, take more memory than a bound, or wait longer than a bound.

mod client;
mod events;
mod framing;
mod messages;
mod place;
mod sandbox;
mod status;
#[cfg(test)]
pub(super) mod tests;

pub use client::Client;
pub use events::Events;
pub use sandbox::Sandbox;
