//! Fuzzes what tests/seeds/build_roundtrip.rs checks.

#![no_main]

#[path = "../../tests/seeds/build_roundtrip.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
