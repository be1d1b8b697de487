//! The kernel knows the lines of Rust that emitted our programs.

use sidestep::agent::{Loaded, TierChoice, choose_tier};
use sidestep::dataplane::{Config, DataPlane, Options, Pairing, Policy, Readers, build};

fn plane() -> DataPlane {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let policy = Policy { opt_out: true, ..Policy::default() };
    build(Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy }).unwrap()
}

#[test]
fn every_program_is_loaded_with_functions_and_lines() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    let loaded = Loaded::new(&plane(), Config::default()).unwrap();
    let iterator = loaded.drain.as_ref().unwrap();
    let opt_out = loaded.opt_out.as_ref().unwrap();
    for program in [&loaded.sock_ops, &loaded.sk_msg, &loaded.dispatcher, iterator, opt_out] {
        let info = program.info().unwrap();
        assert!(info.btf_id > 0 && info.func_infos == 1 && info.line_infos > 3, "{info:?}");
    }
}

#[test]
fn a_refused_program_names_the_line_in_the_kernels_log() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    let mut plane = plane();
    // Without this check the program would follow a null pointer, on one of its next lines.
    let checks = plane.sk_msg.checks();
    let check = checks.iter().find(|check| check.name == "it has a storage").unwrap();
    plane.sk_msg = plane.sk_msg.without(check);
    let error = Loaded::new(&plane, Config::default()).unwrap_err().to_string();
    // Linux 7.3 ends with a report of its own, which shows the lines around.
    let why = error.contains("map_value_or_null") || error.contains("Add a NULL check");
    assert!(why && error.contains("src/dataplane/programs/sk_msg.rs:"), "{error}");
}
