//! Every variant of our programs: the simulator's verdict for each kernel, and the running kernel's on the same bytes.

use sidestep::agent::{Loaded, TierChoice, choose_tier};
use sidestep::asm::Program;
use sidestep::dataplane::{Config, DataPlane, MapKind, Options, Pairing, Readers, Tier, build};
use sidestep::verifier_sim::spec::{self, Kernel, MapLoad, MapSpec, ProgType, ProgramSpec, map_type};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::scope::pairings;

fn variants(pairings: &[Pairing]) -> Vec<DataPlane> {
    let (gated, _) = choose_tier(TierChoice::Gated).unwrap();
    let mut variants = Vec::new();
    for &pairing in pairings {
        for tier in [gated, Tier::Sticky] {
            for readers in [Readers::NonBlocking, Readers::Any] {
                variants.push(build(Options { pairing, tier, readers }).unwrap());
            }
        }
    }
    variants
}

/// A program of the data plane as the simulator takes it.
fn as_spec(plane: &DataPlane, program: &Program, prog_type: ProgType) -> ProgramSpec {
    let maps = plane.maps.iter().map(|map| MapSpec {
        map_type: match map.kind {
            MapKind::SockHash => map_type::SOCKHASH,
            MapKind::SkStorage => map_type::SK_STORAGE,
            MapKind::LruHash => map_type::LRU_HASH,
            MapKind::Array => map_type::ARRAY,
            MapKind::PerCpuArray => map_type::PERCPU_ARRAY,
        },
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags,
        ..MapSpec::default()
    });
    ProgramSpec {
        prog_type,
        insns: program.resolve(|map| Some(map.0 as i32)).unwrap(),
        maps: maps.collect(),
        map_loads: program.maps().iter().map(|&(insn, map)| MapLoad { insn, map: map.0 as usize }).collect(),
        ..ProgramSpec::default()
    }
}

#[test]
fn the_simulator_accepts_every_variant_its_kernel_has_the_helpers_for() {
    for plane in variants(&[Pairing::Sequence, Pairing::FourTuple]) {
        for kernel in [Kernel::V5_10, Kernel::V6_1, Kernel::V6_12, Kernel::V6_18] {
            for (program, prog_type) in [(&plane.sock_ops, ProgType::SOCK_OPS), (&plane.sk_msg, ProgType::SK_MSG)] {
                let options = spec::Options { kernel, ..spec::Options::default() };
                let verdict = verify(&as_spec(&plane, program, prog_type), &options);
                // bpf_get_netns_cookie came to sock_ops in 5.15.
                let missing = kernel == Kernel::V5_10
                    && plane.options.pairing == Pairing::FourTuple
                    && prog_type == ProgType::SOCK_OPS;
                let accepted = matches!(verdict, Verdict::Accept(_));
                assert_eq!(accepted, !missing, "{:?} {prog_type:?} on {kernel:?}: {verdict:?}", plane.options);
            }
        }
    }
}

#[test]
fn the_running_kernel_accepts_every_variant() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    for plane in variants(&pairings()) {
        let loaded = Loaded::new(&plane, Config::default());
        assert!(loaded.is_ok(), "{:?}: {}", plane.options, loaded.err().unwrap());
    }
}
