//! Who may call which function.

use sidestep::asm::{Insn, opcode as op};
use sidestep::btf::Kind;
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use super::FORBIDDEN;
use super::judges::Judges;
use crate::types::places::places;

#[test]
fn programs_of_each_type_may_call_what_the_kernel_lets_them_call() {
    let Some(judges) = Judges::new("programs_of_each_type_may_call_what_the_kernel_lets_them_call") else { return };
    let tags = (1..=judges.btf.type_count()).filter_map(|id| judges.btf.head(id));
    let tagged = tags.filter(|tag| tag.kind == Kind::DeclTag && judges.btf.string(tag.name) == b"bpf_kfunc");
    let functions: Vec<u32> = tagged.map(|tag| tag.size_or_type).collect();
    assert!(functions.len() > 100, "the kernel has {} functions for programs", functions.len());
    let set = Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 0 };
    let exit = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };
    let (mut known, mut forbidden) = (0, 0);
    for place in places().iter().filter(|place| place.loads(&judges.oracle)) {
        for &id in &functions {
            let call = Insn { code: op::JMP | op::CALL, dst: 0, src: op::PSEUDO_KFUNC_CALL, off: 0, imm: id as i32 };
            let program = place.program(vec![call, set, exit]);
            let ours = verify(&program, &judges.options);
            let name = judges.btf.name(id).unwrap_or_default();
            if matches!(ours, Verdict::Unsupported(_)) {
                continue;
            }
            let theirs = judges.oracle.verdict(&program);
            assert_eq!(ours.is_accept(), theirs.is_ok(), "{place}: {name}: {} {theirs:?}", ours.reason());
            let refused = theirs.err().unwrap_or_default();
            assert_eq!(ours.reason().contains(FORBIDDEN), refused.contains(FORBIDDEN), "{place}: {name}: {refused}");
            known += 1;
            forbidden += u32::from(refused.contains(FORBIDDEN));
        }
    }
    assert!(known > 2000 && forbidden > 500 && forbidden < known, "{known} {forbidden}");
}
