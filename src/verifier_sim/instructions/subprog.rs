//! Calls of the program's own functions (`check_func_call`, `prepare_func_exit`, `check_max_stack_depth`).

use std::rc::Rc;

use crate::asm::Insn;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::functions::{body, callees, named_by};
use crate::verifier_sim::program::{Subprog, is_subprog_call};
use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::state::stack::STACK_SIZE;
use crate::verifier_sim::state::{Frame, MAX_FRAMES};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    /// Enters a function: it gets r1 to r5 and a stack of its own.
    pub(in crate::verifier_sim) fn enter_subprog(&mut self, subprog: usize) -> Step<usize> {
        let depth = self.cur.frames.len();
        if depth >= MAX_FRAMES {
            reject!("the call stack of {} frames is too deep", depth + 1);
        }
        let mut callee = Frame::new(depth, self.at, subprog);
        let caller = self.cur.top_mut();
        callee.regs[1..6].copy_from_slice(&caller.regs[1..6]);
        caller.regs[..6].fill(Reg::NOT_INIT);
        self.cur.frames.push(Rc::new(callee));
        self.log_call();
        Ok(self.subprogs[subprog].start)
    }

    /// Returns from a function: r0 goes to the caller.
    pub(in crate::verifier_sim) fn leave_subprog(&mut self) -> Step<usize> {
        let callee = self.log_callee();
        let result = *self.reg(0);
        if result.kind == Kind::Stack {
            reject!("cannot return stack pointer to the caller");
        }
        let callsite = self.cur.top().callsite;
        if self.cur.top().in_callback {
            self.check_callback_result()?;
            self.cur.frames.pop();
            self.log_return(&callee, callsite);
            self.widen_callback(callsite);
            return Ok(callsite);
        }
        self.cur.frames.pop();
        *self.reg_mut(0) = result;
        self.log_return(&callee, callsite + 1);
        Ok(callsite + 1)
    }
}

/// The stack of a function is rounded up to this by the JIT compiler's callers (`round_up_stack_depth`).
const ROUNDING: u32 = 16;

/// A tail call from a function is only permitted when its callers use less than this (x86's limit of 33 nested tail calls).
const TAIL_CALL_STACK: u32 = 256;

/// A function with at least this much stack may have one of its own (`BPF_PRIV_STACK_MIN_SIZE`).
const PRIVATE_STACK: u32 = 64;

/// The stack of every chain of calls together fits; says how much the deepest needs (`check_max_stack_depth`).
pub(in crate::verifier_sim) fn check_stack_depth(insns: &[Insn], subprogs: &[Subprog], place: Place) -> Step<u32> {
    // Calls are followed as they stand in the code, reachable or not, like the kernel does. A function is walked once for
    // each way to call it, of which there can be very many: remember the deepest entry instead, which decides.
    let mut entered = vec![0u32; subprogs.len()];
    let mut deepest = 0;
    // What the kernel calls later has the stack to itself.
    let counts =
        |index: usize, callee: usize| !subprogs[callee].is_async || calls_itself(insns, subprogs, index, callee);
    let callees = |index: usize| {
        let mut callees = callees(insns, subprogs, index);
        callees.retain(|callee| counts(index, *callee));
        callees
    };
    let calls: Vec<Vec<usize>> = (0..subprogs.len()).map(callees).collect();
    let tail_calls = subprogs.iter().any(|subprog| subprog.has_tail_call);
    let private = place.has_private_stacks() && !tail_calls;
    let mut levels = vec![0usize; subprogs.len()];
    let apart = (1..subprogs.len()).filter(|index| subprogs[*index].is_async);
    let mut todo: Vec<_> = apart.chain([0]).map(|index| (index, 0u32, 1usize)).collect();
    if subprogs.iter().any(|subprog| subprog.is_async && subprog.has_tail_call) {
        reject!("verifier bug: subprog has tail_call and async cb");
    }
    while let Some((index, above, level)) = todo.pop() {
        if level > MAX_FRAMES {
            // The kernel does not count the main program here.
            reject!("the call stack of {MAX_FRAMES} frames is too deep !");
        }
        if index != 0 && subprogs[index].has_tail_call && above >= TAIL_CALL_STACK {
            reject!("tail_calls are not allowed when call stack of previous frames is {above} bytes. Too large");
        }
        let own = subprogs[index].stack_depth.next_multiple_of(ROUNDING);
        let has_own_stack = private && own >= PRIVATE_STACK;
        if has_own_stack && own as usize > STACK_SIZE {
            reject!("stack size of subprog {index} is {own}. Too large");
        }
        let depth = if has_own_stack { above } else { above + own };
        if depth as usize > STACK_SIZE {
            reject!("combined stack size of {level} calls is {depth}. Too large");
        }
        deepest = deepest.max(depth);
        if level <= levels[index] && depth <= entered[index] {
            continue;
        }
        levels[index] = levels[index].max(level);
        entered[index] = entered[index].max(depth);
        todo.extend(calls[index].iter().map(|callee| (*callee, depth, level + 1)));
    }
    Ok(deepest)
}

/// Whether function `index` calls `callee` itself, and not only by its address.
fn calls_itself(insns: &[Insn], subprogs: &[Subprog], index: usize, callee: usize) -> bool {
    let start = subprogs[index].start;
    let calls = body(insns, subprogs, index).iter().enumerate().filter(|(_, insn)| is_subprog_call(insn));
    let mut named = calls.map(|(offset, insn)| named_by(insn, start + offset, subprogs));
    named.any(|named| named == Some(callee))
}
