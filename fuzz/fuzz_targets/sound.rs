//! Fuzzes what tests/seeds/sound.rs checks.

#![no_main]

#[path = "../../tests/sim/random/mod.rs"]
mod random;
#[path = "../../tests/seeds/sound.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::check(bytes));
