//! Every variant of our programs: the simulator's verdict for each kernel, and the running kernel's on the same bytes.

use sidestep::agent::{Loaded, TierChoice, choose_tier, program_specs};
use sidestep::dataplane::{Config, DataPlane, Options, Pairing, Tier, build};
use sidestep::verifier_sim::spec::{self, Kernel, ProgType};
use sidestep::verifier_sim::verify;

use crate::scope::pairings;

/// The variants with these pairings, with the running kernel's offsets.
fn variants(pairings: &[Pairing]) -> Vec<DataPlane> {
    let (Tier::Gated(offsets), _) = choose_tier(TierChoice::Gated).unwrap() else { panic!("asked for the gated tier") };
    let options = Options::all(offsets).into_iter().filter(|options| pairings.contains(&options.pairing));
    options.map(|options| build(options).unwrap()).collect()
}

#[test]
fn the_simulator_accepts_every_variant_its_kernel_has_the_helpers_for() {
    for plane in variants(&[Pairing::Sequence, Pairing::FourTuple]) {
        for kernel in Kernel::ALL {
            for program in program_specs(&plane).unwrap() {
                let options = spec::Options { kernel, ..spec::Options::default() };
                let verdict = verify(&program, &options);
                // bpf_get_netns_cookie came to sock_ops in 5.15.
                let missing = kernel == Kernel::V5_10
                    && plane.options.pairing == Pairing::FourTuple
                    && program.prog_type == ProgType::SOCK_OPS;
                let accepted = verdict.is_accept();
                assert_eq!(accepted, !missing, "{} ({}) on {kernel}: {verdict:?}", program.name, plane.options);
            }
        }
    }
}

#[test]
fn the_running_kernel_accepts_every_variant() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    for plane in variants(&pairings()) {
        let loaded = Loaded::new(&plane, Config::default());
        assert!(loaded.is_ok(), "{}: {}", plane.options, loaded.err().unwrap());
    }
}
