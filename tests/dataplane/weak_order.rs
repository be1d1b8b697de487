//! The programs for processors that let loads and stores pass each other, on whatever processor this is.

use sidestep::agent::{Loaded, TierChoice, choose_tier, program_specs};
use sidestep::asm::opcode::{ATOMIC, FETCH, STX};
use sidestep::asm::{Insn, Program};
use sidestep::dataplane::{Config, DataPlane, KernelOffsets, Options, Readers, Tier, build};
use sidestep::syscall::Release;
use sidestep::verifier_sim::spec::{self, Kernel};
use sidestep::verifier_sim::verify;

use crate::nested::pairings;

/// Every variant of the gated tier without a policy.
fn planes(weakly_ordered: bool) -> Vec<DataPlane> {
    let (Tier::Gated(offsets), _) = choose_tier(TierChoice::Gated).unwrap() else { panic!("asked for the gated tier") };
    let offsets = KernelOffsets { casts: None, weakly_ordered, ..offsets };
    let gated = |options: &Options| options.tier != Tier::Sticky && pairings().contains(&options.pairing);
    Options::all(offsets).into_iter().filter(gated).map(|options| build(options).unwrap()).collect()
}

/// Atomic operations that fetch, so that arm64's are full barriers.
fn barriers(program: &Program) -> usize {
    let fetches = |insn: &&Insn| insn.code & 0xe7 == STX | ATOMIC && insn.imm & FETCH != 0;
    program.insns().iter().filter(fetches).count()
}

#[test]
fn barriers_stand_where_the_argument_names_them() {
    for plane in planes(true) {
        for (name, _, program) in plane.programs() {
            let named = match (name, plane.options.readers) {
                // SENT; one for each reason to defer; copied_seq before lock_owned, for readers that do not block.
                ("sk_msg", Readers::NonBlocking) => 3..=20,
                ("sk_msg", _) => 2..=20,
                // UNENROLLING; the reference before the queues; the queues before SENT.
                ("sock_ops", _) => 3..=3,
                // The reference before the queue; the queue before SENT.
                ("drain", _) => 1..=3,
                _ => 0..=0,
            };
            let there = barriers(program);
            assert!(named.contains(&there), "{name} ({}): {there} barriers", plane.options);
        }
    }
}

#[test]
fn a_processor_that_keeps_the_order_is_spared_them() {
    for plane in planes(false) {
        for (name, _, program) in plane.programs() {
            assert_eq!(barriers(program), 0, "{name} ({})", plane.options);
        }
    }
}

#[test]
fn the_simulator_and_the_running_kernel_accept_them() {
    assert!(nix::unistd::geteuid().is_root(), "NOT TESTED: loading programs needs root");
    for plane in planes(true) {
        for kernel in Kernel::ALL.into_iter().filter(|kernel| *kernel != Kernel::V5_10) {
            for program in program_specs(&plane).unwrap() {
                let verdict = verify(&program, &spec::Options { kernel, ..spec::Options::default() });
                assert!(verdict.is_accept(), "{} ({}) on {kernel}: {verdict:?}", program.name, plane.options);
            }
        }
        // Atomic operations that fetch came with Linux 5.12.
        if Release::running().is_some_and(|release| release >= Release(5, 12, 0)) {
            let loaded = Loaded::new(&plane, Config::default());
            assert!(loaded.is_ok(), "{}: {}", plane.options, loaded.err().unwrap());
        }
    }
}
