//! The verifier simulator and the interpreter, from outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod agreement;
mod callbacks;
mod closing;
mod core_relo;
mod counts;
mod crafted;
mod elf;
mod fixtures;
mod functions;
mod helper_tables;
mod history;
mod hostile;
mod hostile_objects;
mod isa;
mod kernel;
mod kfuncs;
mod large;
mod link;
mod map_use;
mod mutants;
mod mutate;
mod objects;
mod pairing;
mod policy;
mod privilege;
mod random;
mod reasons;
mod rules;
mod soundness;
mod strategies;
mod types;
