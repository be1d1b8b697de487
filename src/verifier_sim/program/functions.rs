//! What BTF says of a program's functions (`check_btf_info`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::{Subprog, is_subprog_address, is_subprog_call};
use crate::verifier_sim::spec::{FunctionSpec, Kernel};
use crate::verifier_sim::stop::{Step, reject, unsupported};

/// Marks the global functions, and checks what depends on BTF: tail calls and legacy packet loads outside the main function
/// (`check_abnormal_return`).
pub(in crate::verifier_sim) fn describe(
    insns: &[Insn],
    subprogs: &mut [Subprog],
    functions: &[FunctionSpec],
    kernel: Kernel,
) -> Step {
    if !functions.is_empty() {
        if functions.len() != subprogs.len() {
            reject!("number of funcs in func_info doesn't match number of subprogs");
        }
        for (subprog, function) in subprogs.iter_mut().zip(functions) {
            if subprog.start != function.insn {
                reject!("func_info BTF section doesn't match subprog layout in BPF program");
            }
            subprog.global = function.global;
        }
        // They judge all global functions, called or not, and know fewer types of arguments.
        if kernel < Kernel::V6_12 && subprogs.iter().skip(1).any(|subprog| subprog.global) {
            unsupported!("global functions are simulated for Linux 6.12 and later");
        }
    }
    let legacy =
        |insn: &Insn| insn.code & op::CLASS_MASK == op::LD && matches!(insn.code & op::MODE_MASK, op::ABS | op::IND);
    for (index, subprog) in subprogs.iter().enumerate().skip(1) {
        let returns_number = functions.get(index).map(|function| function.returns_number);
        let uses_legacy = body(insns, subprogs, index).iter().any(legacy);
        for (used, what) in [(uses_legacy, "LD_ABS"), (subprog.has_tail_call, "tail_call")] {
            match returns_number {
                _ if !used => {}
                None => reject!("{what} is not allowed in subprogs without BTF"),
                Some(false) => reject!("{what} is only allowed in functions that return 'int'."),
                // A load beyond the packet's end leaves the function, not the program.
                Some(true) if uses_legacy => {
                    unsupported!("loads from the packet by LD_ABS in functions are not simulated")
                }
                Some(true) => {}
            }
        }
    }
    Ok(())
}

/// The slots of function `index`.
pub(in crate::verifier_sim) fn body<'i>(insns: &'i [Insn], subprogs: &[Subprog], index: usize) -> &'i [Insn] {
    let end = subprogs.get(index + 1).map_or(insns.len(), |next| next.start);
    &insns[subprogs[index].start..end]
}

/// The number of the function that the instruction at `at` calls, or whose address it loads.
pub(in crate::verifier_sim) fn named_by(insn: &Insn, at: usize, subprogs: &[Subprog]) -> Option<usize> {
    let target = at as i64 + i64::from(insn.imm) + 1;
    subprogs.iter().position(|subprog| subprog.start as i64 == target)
}

/// The functions that function `index` calls or has called, by their numbers.
pub(in crate::verifier_sim) fn callees(insns: &[Insn], subprogs: &[Subprog], index: usize) -> Vec<usize> {
    let start = subprogs[index].start;
    let calls = body(insns, subprogs, index)
        .iter()
        .enumerate()
        .filter(|(_, insn)| is_subprog_call(insn) || is_subprog_address(insn));
    let mut callees: Vec<usize> = calls.filter_map(|(offset, insn)| named_by(insn, start + offset, subprogs)).collect();
    callees.sort();
    callees.dedup();
    callees
}

/// Whether function `index`, or one that it calls, may move the packet's bytes (`changes_pkt_data`).
pub(in crate::verifier_sim) fn moves_packet(insns: &[Insn], subprogs: &[Subprog], index: usize, place: Place) -> bool {
    let mut seen = vec![false; subprogs.len()];
    let mut todo = vec![index];
    while let Some(index) = todo.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let calls_helper = |insn: &&Insn| insn.code == op::JMP | op::CALL && insn.src == 0;
        let mut helpers = body(insns, subprogs, index).iter().filter(calls_helper);
        if helpers.any(|insn| crate::verifier_sim::helpers::moves_packet(insn.imm, place)) {
            return true;
        }
        todo.extend(callees(insns, subprogs, index));
    }
    false
}
