//! Fuzzes what tests/seeds/verify.rs checks.

#![no_main]

#[path = "../../tests/seeds/verify.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
