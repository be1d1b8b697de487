//! The helpers that the programs call, for each program type, by a program that does nothing else.

use std::collections::BTreeSet;

use super::finding::{Answer, Finding, Need};
use crate::agent::kernel_offsets;
use crate::asm::{Asm, Program as Assembled, opcode};
use crate::dataplane::{self, DataPlane, Options, Pairing, Policy, Readers, Tier};
use crate::syscall::{Errno, ProgSpec, Program};
use crate::uapi::ProgType;
use crate::uapi::helper::helper_name;

/// One finding for each type and helper. Which helpers, the programs themselves say: those that every variant calls are
/// required, the others are optional.
pub(super) fn all() -> Vec<Finding> {
    let build =
        |pairing, tier, readers| dataplane::build(Options { pairing, tier, readers, policy: Policy::default() }).ok();
    let Some(plain) = build(Pairing::Sequence, Tier::Sticky, Readers::Any) else { return Vec::new() };
    let mut more = vec![build(Pairing::FourTuple, Tier::Sticky, Readers::Any)];
    if let Ok(offsets) = kernel_offsets() {
        more.push(build(Pairing::Sequence, Tier::Gated(offsets), Readers::NonBlocking));
    }
    let mut findings = Vec::new();
    for prog_type in [ProgType::SOCK_OPS, ProgType::SK_MSG] {
        let program = |plane: &DataPlane| match prog_type {
            ProgType::SOCK_OPS => calls(&plane.sock_ops),
            _ => calls(&plane.sk_msg),
        };
        let variants: Vec<BTreeSet<i32>> = std::iter::once(&plain).chain(more.iter().flatten()).map(program).collect();
        let others: BTreeSet<i32> = variants.iter().flatten().copied().collect();
        let required: BTreeSet<i32> =
            others.iter().copied().filter(|id| variants.iter().all(|variant| variant.contains(id))).collect();
        let optional = others.difference(&required).map(|&id| (Need::Optional, id));
        for (need, id) in required.iter().map(|&id| (Need::Required, id)).chain(optional) {
            findings.push(finding(prog_type, need, id));
        }
    }
    findings
}

fn finding(prog_type: ProgType, need: Need, id: i32) -> Finding {
    let name = helper_name(id).unwrap_or_else(|| format!("helper {id}"));
    let why = match need {
        Need::Required => "Every variant of the program calls it.",
        Need::Optional => "The gated tier, the sticky tier or four-tuple pairing calls it.",
    };
    Finding::new("helpers", need, format!("{prog_type} may call {name}"), probe(prog_type, id))
        .why(why)
        .remedy("check the privileges and lockdown above; else use a newer kernel")
}

/// The helpers that a program calls.
fn calls(program: &Assembled) -> BTreeSet<i32> {
    let is_call = |code: u8| code == opcode::JMP | opcode::CALL;
    program.insns().iter().filter(|insn| is_call(insn.code) && insn.src == 0).map(|insn| insn.imm).collect()
}

/// Loads `call id; r0 = 0; exit`. A helper that the type may call gets as far as its arguments.
fn probe(prog_type: ProgType, id: i32) -> Answer {
    let mut asm = Asm::new();
    asm.call(id);
    asm.mov(crate::asm::Reg::R0, 0);
    asm.exit();
    let insns = match asm.finish().and_then(|program| program.encode_native(|_| None)) {
        Ok(insns) => insns,
        Err(error) => return Answer::Unknown(error.to_string()),
    };
    match Program::load(&ProgSpec::new("sidestep_check", prog_type, &insns)) {
        Ok(_) => Answer::Yes(String::new()),
        Err(error) => judge(error.log(), error.errno()),
    }
}

fn judge(log: Option<&str>, errno: Option<Errno>) -> Answer {
    // check_helper_call of kernel/bpf/verifier.c: the words of all kernels from 5.10 to 7.3.
    const REFUSED: [&str; 3] = ["unknown func", "invalid func", "program of this type cannot use helper"];
    match (log, errno) {
        (Some(log), _) => match log.lines().find(|line| REFUSED.iter().any(|words| line.contains(words))) {
            Some(line) => Answer::No(line.trim().to_owned()),
            None => Answer::Yes(String::new()),
        },
        (None, Some(errno)) => Answer::Unknown(errno.to_string()),
        (None, None) => Answer::Unknown("the kernel gave no reason".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_words_decide() {
        for words in
            ["unknown func bpf_x#46", "program of this type cannot use helper bpf_x#46", "invalid func unknown#999"]
        {
            assert!(matches!(judge(Some(words), Some(Errno::EINVAL)), Answer::No(_)), "{words}");
        }
        assert!(matches!(judge(Some("R1 type=ctx expected=map_ptr"), Some(Errno::EACCES)), Answer::Yes(_)));
        assert!(matches!(judge(None, Some(Errno::EPERM)), Answer::Unknown(_)));
    }

    #[test]
    fn the_programs_say_what_they_call() {
        let findings = |plane: &DataPlane| calls(&plane.sk_msg);
        let options = Options {
            pairing: Pairing::Sequence,
            tier: Tier::Sticky,
            readers: Readers::Any,
            policy: Policy::default(),
        };
        // BPF_FUNC_msg_redirect_hash, without which there is no redirection.
        assert!(findings(&dataplane::build(options).unwrap()).contains(&71));
    }
}
