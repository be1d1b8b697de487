//! The checks of the fuzz targets, on the inputs that are committed: seeds, and what fuzzing has once found.
//!
//! The files lie in tests/seeds/data/TARGET. After a finding, add its file there; fuzz/README.md says how to make seeds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod build_roundtrip;
mod decode;
#[allow(dead_code, reason = "tests/sim has this module, too, and uses what is unused here")]
#[path = "../sim/random/mod.rs"]
mod random;
mod sound;
mod structured;
mod verify;

use std::path::Path;

/// Runs the check of a target on each of its files.
fn all(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds/data").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} holds only {} files", directory.display(), files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        // Shown when the check fails.
        println!("{}", file.display());
        check(&bytes);
    }
}

#[test]
fn decode_holds_on_all_seeds() {
    all("decode", decode::check);
}

#[test]
fn build_roundtrip_holds_on_all_seeds() {
    all("build_roundtrip", build_roundtrip::check);
}

#[test]
fn structured_holds_on_all_seeds() {
    all("structured", structured::check);
}

#[test]
fn verify_holds_on_all_seeds() {
    all("verify", verify::check);
}

#[test]
fn sound_holds_on_all_seeds() {
    all("sound", sound::check);
}
