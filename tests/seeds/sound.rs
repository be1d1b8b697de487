//! Soundness: a random program that the simulator accepts runs without a fault, whatever the kernel around it does.
//!
//! The first byte chooses the type and the kernel, the next eight the world to run in, the rest the idioms.

use sidestep::verifier_sim::interp::Fault;
use sidestep::verifier_sim::spec::{Kernel, Options, ProgType};
use sidestep::verifier_sim::verify;

use crate::random;

/// Checks one input.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let Some((seed, rest)) = rest.split_first_chunk() else { return };
    let choices: Vec<u32> =
        rest.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let prog_type = if first & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS };
    let kernel = Kernel::ALL[usize::from(first >> 1) % Kernel::ALL.len()];
    let program = random::program(prog_type, &choices);
    if !verify(&program, &Options { kernel, cpus: 2, ..Options::default() }).is_accept() {
        return;
    }
    match random::sandbox::execute(&program, u64::from_le_bytes(*seed)) {
        Ok(outcome) => assert!(prog_type == ProgType::SK_MSG || outcome.r0 <= 1, "sock_ops returned {:#x}", outcome.r0),
        // The sandbox does not know every helper.
        Err(trap) => assert!(matches!(trap.fault, Fault::UnknownHelper(_)), "accepted on {kernel}, and then {trap}"),
    }
}
