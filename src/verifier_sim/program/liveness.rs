//! Which registers may still be read after an instruction: pruning need not compare the others.

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::helpers;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::{Aux, is_load_imm64, successors};

/// r0 to r5: gone after a call.
const CALLER_SAVED: u16 = 0x3f;
/// r1 to r5: the arguments of a call.
const ARGUMENTS: u16 = 0x3e;
/// r0 to r10.
const ALL: u16 = 0x7ff;

/// The argument registers that a call reads: of a helper those in its signature, of a function all.
fn arguments(insn: &Insn, place: Place, aux: &Aux) -> u16 {
    if aux.kfunc_reads != 0 {
        return aux.kfunc_reads & ARGUMENTS;
    }
    let known = insn.src == 0 && helpers::available(insn.imm, place);
    match helpers::proto(insn.imm, place).filter(|_| known) {
        Some(proto) => ((1u16 << proto.args.len()) - 1) << 1,
        None => ARGUMENTS,
    }
}

/// The registers that an instruction reads and those that it overwrites.
fn uses(insn: &Insn, place: Place, aux: &Aux) -> (u16, u16) {
    let bit = |reg: u8| (1u16 << reg) & ALL;
    let (dst, src) = (bit(insn.dst), bit(insn.src));
    match insn.code & op::CLASS_MASK {
        op::ALU | op::ALU64 => {
            let source = if insn.code & op::X != 0 { src } else { 0 };
            match insn.code & op::OP_MASK {
                op::MOV => (source, dst),
                op::NEG | op::END => (dst, dst),
                _ => (dst | source, dst),
            }
        }
        op::LDX => (src, dst),
        op::ST => (dst, 0),
        op::STX => {
            if insn.code & op::MODE_MASK != op::ATOMIC {
                return (dst | src, 0);
            }
            match insn.imm {
                op::CMPXCHG => (dst | src | bit(0), bit(0)),
                op::LOAD_ACQ => (src, dst),
                imm if imm & op::FETCH != 0 => (dst | src, src),
                _ => (dst | src, 0),
            }
        }
        op::JMP | op::JMP32 => match insn.code & op::OP_MASK {
            op::JA | op::JCOND => (0, 0),
            op::EXIT => (bit(0), 0),
            op::CALL => (arguments(insn, place, aux), CALLER_SAVED),
            _ if insn.code & op::X != 0 => (dst | src, 0),
            _ => (dst, 0),
        },
        _ if is_load_imm64(insn) => (0, dst),
        // The kernel takes loads of classic BPF for reads of everything.
        _ => (ALL, 0),
    }
}

/// Fills in [`Aux::live`].
pub(in crate::verifier_sim) fn compute(insns: &[Insn], aux: &mut [Aux], place: Place) {
    let mut before: Vec<Vec<u32>> = vec![Vec::new(); insns.len()];
    for at in 0..insns.len() {
        for next in successors(insns, at, false).into_iter().flatten() {
            if let Some(list) = before.get_mut(next) {
                list.push(at as u32);
            }
        }
    }
    let mut todo: Vec<u32> = (0..insns.len() as u32).collect();
    let mut queued = vec![true; insns.len()];
    while let Some(at) = todo.pop() {
        let at = at as usize;
        queued[at] = false;
        let mut live = 0;
        for next in successors(insns, at, false).into_iter().flatten() {
            live |= aux.get(next).map_or(0, |aux| aux.live);
        }
        let (read, written) = uses(&insns[at], place, &aux[at]);
        let live = live & !written | read;
        if live != aux[at].live {
            aux[at].live = live;
            for &previous in &before[at] {
                if !queued[previous as usize] {
                    queued[previous as usize] = true;
                    todo.push(previous);
                }
            }
        }
    }
}
