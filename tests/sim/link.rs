//! Programs from the instructions of their functions.

use sidestep::asm::{Insn, opcode as op};
use sidestep::verifier_sim::spec::MapLoad;

/// The loads of maps, each of which names its map by number.
pub(crate) fn map_loads(insns: &[Insn]) -> Vec<MapLoad> {
    let loads = insns.iter().enumerate().filter(|(_, insn)| {
        insn.code == op::LD | op::IMM | op::DW && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE)
    });
    loads.map(|(at, insn)| MapLoad { insn: at, map: insn.imm as usize }).collect()
}

/// The instructions of all functions, one after the other, and where each function begins. Given are calls and addresses that
/// name a function by its number.
pub(crate) fn linked(functions: impl IntoIterator<Item = Vec<Insn>>) -> (Vec<Insn>, Vec<usize>) {
    let (mut insns, mut starts) = (Vec::new(), Vec::new());
    for function in functions {
        starts.push(insns.len());
        insns.extend(function);
    }
    for (at, insn) in insns.iter_mut().enumerate() {
        let call = insn.code == op::JMP | op::CALL && insn.src == op::PSEUDO_CALL;
        let address = insn.code == op::LD | op::IMM | op::DW && insn.src == op::PSEUDO_FUNC;
        if call || address {
            insn.imm = starts[insn.imm as usize] as i32 - at as i32 - 1;
        }
    }
    (insns, starts)
}
