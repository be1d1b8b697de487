//! Fuzzes what tests/seeds/structured.rs checks.

#![no_main]

#[path = "../../tests/seeds/structured.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
