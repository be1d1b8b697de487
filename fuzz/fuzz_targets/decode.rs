//! Fuzzes what tests/seeds/decode.rs checks.

#![no_main]

#[path = "../../tests/seeds/decode.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
