//! The shape of the source text: which way imports point, and which words it uses. Reads files and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod circles;
mod forms;
mod imports;
mod names;
mod order;
mod source;
mod unused;
mod words;
