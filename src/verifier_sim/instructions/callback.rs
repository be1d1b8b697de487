//! Functions of the program that a helper calls (`push_callback_call`, `prepare_func_exit`).
//!
//! How often the helper calls is not known. So the path goes on behind the call, as if there were no more rounds, and one round
//! is put aside. A round ends at the call again, from where the next one begins. There are no more rounds when an earlier round had
//! the same state at the call; numbers that differ from round to round and decide nothing are forgotten.

use std::rc::Rc;

use crate::asm::Insn;
use crate::uapi::helper::id;
use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::program::is_subprog_address;
use crate::verifier_sim::spec::{Kernel, MapType, Privilege};
use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::state::{Frame, MAX_FRAMES, State};
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::walk::env::{Env, MAX_PENDING, Pending};
use crate::verifier_sim::walk::outside;

/// What a callback returns: 1 ends the rounds (`callback_ret_range`).
const RESULTS: (i64, i64) = (0, 1);

/// What a function returns that the kernel calls later.
const LATER_RESULTS: (i64, i64) = (0, 0);

/// Whether `bpf_for_each_map_elem` walks maps of this type (`map_for_each_callback` of its operations).
fn is_walked(kind: MapType) -> bool {
    matches!(
        kind,
        MapType::ARRAY
            | MapType::PERCPU_ARRAY
            | MapType::HASH
            | MapType::PERCPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PERCPU_HASH
    )
}

impl Env<'_> {
    /// The address of a function, as a 64-bit immediate load has it (`check_ld_imm`).
    pub(in crate::verifier_sim) fn function_address(&self, insn: &Insn) -> Step<Reg> {
        if self.kernel < Kernel::V6_12 {
            unsupported!("callbacks are simulated for Linux 6.12 and later: older kernels walk one round");
        }
        if self.privilege != Privilege::Full {
            unsupported!("callbacks without CAP_PERFMON are not simulated");
        }
        let number = self.named_function(insn)?;
        if self.functions.get(number).is_some_and(|function| function.global) {
            reject!("callback function not static");
        }
        Ok(Reg::pointer(Kind::Func, number as u32))
    }

    /// A function that is not walked is removed as dead code. Then its address, where the program loads it, is that of the next
    /// function; behind the last one there is none. The kernel finds that out when it compiles functions: where any is left beside
    /// the main one (`jit_subprogs`).
    pub(in crate::verifier_sim) fn check_addresses(&self) -> Step {
        let last = self.subprogs.iter().skip(1).map(|subprog| subprog.start).rfind(|start| self.aux[*start].seen);
        let Some(last) = last else { return Ok(()) };
        for (at, insn) in self.insns.iter().enumerate() {
            let target = (at as i64 + i64::from(insn.imm) + 1) as usize;
            if is_subprog_address(insn) && self.aux[at].seen && target > last {
                // The kernel counts the instructions of the rewritten program.
                let rule = format!("verifier bug: No program to jit at insn {target} (subprog < 0)");
                return Err(Stop::RejectAt(at, rule));
            }
        }
        Ok(())
    }

    /// The helper may call the function that it is given.
    pub(in crate::verifier_sim) fn call_back(&mut self, call: &Call) -> Step {
        let Some(callback) = call.callback else { return Ok(()) };
        if call.helper == id::TIMER_SET_CALLBACK {
            let Some(map) = call.map else { reject!("kernel subsystem misconfigured verifier") };
            return self.call_later(callback, (map, call.map_uid), false);
        }
        let (r1, r3, r4) = (*self.reg(1), *self.reg(3), *self.reg(4));
        let unset = Reg::NOT_INIT;
        match call.helper {
            id::LOOP => self.call_back_rounds(callback, r3),
            id::FOR_EACH_MAP_ELEM => {
                let Some(map) = call.map else { reject!("kernel subsystem misconfigured verifier") };
                if !is_walked(self.map(map).kind()) {
                    reject!("callback function not allowed for map");
                }
                let (key, value) = (Reg::pointer(Kind::MapKey, map), Reg::pointer(Kind::MapValue, map));
                self.push_callback(callback, [r1, key, value, r3, unset])
            }
            id::FIND_VMA => {
                let types = self.kernel_types()?;
                let Some(area) = types.named(b"vm_area_struct") else {
                    unsupported!("the kernel's types do not have struct vm_area_struct");
                };
                let area = Reg::pointer(Kind::BtfId, crate::verifier_sim::types::structure_number(types, area));
                self.push_callback(callback, [r1, area, r4, unset, unset])
            }
            helper => unsupported!("callbacks of {} are not simulated", Self::helper_label(helper)),
        }
    }

    /// `bpf_loop`: the number of rounds has a bound.
    fn call_back_rounds(&mut self, callback: usize, context: Reg) -> Step {
        // Without flags the kernel makes a loop of the call, and relies on them.
        let flags = if self.reg(4).is_null() { 1 << 4 } else { 0 };
        self.mark_precise(flags);
        if !self.reg(1).is_scalar() {
            reject!("verifier bug: backtracking misuse");
        }
        self.mark_precise(1 << 1);
        if self.cur.top().callback_depth < self.reg(1).val.umax {
            let unset = Reg::NOT_INIT;
            return self.push_callback(callback, [Reg::UNKNOWN, context, unset, unset, unset]);
        }
        self.cur.top_mut().callback_depth = 0;
        self.log_line(&format!("frame{} bpf_loop iteration limit reached", self.cur.depth()));
        Ok(())
    }

    /// Puts a round of function `subprog` aside, with these arguments.
    pub(in crate::verifier_sim) fn push_callback(&mut self, subprog: usize, arguments: [Reg; 5]) -> Step {
        let depth = self.cur.frames.len();
        let mut state = self.cur.clone();
        state.callback_unroll_depth += 1;
        state.top_mut().callback_depth += 1;
        let mut callee = Frame { in_callback: true, ..Frame::new(depth, self.at, subprog) };
        callee.regs[1..6].copy_from_slice(&arguments);
        state.frames.push(Rc::new(callee));
        self.push_state(state, self.subprogs[subprog].start)?;
        if depth >= MAX_FRAMES {
            reject!("the call stack of {} frames is too deep", depth + 1);
        }
        self.cur.top_mut().callback_depth = 0;
        Ok(())
    }

    /// A timer in a value of this map calls the function later, or a work queue does, which `may_sleep` (`push_async_cb`).
    pub(in crate::verifier_sim) fn call_later(
        &mut self,
        subprog: usize,
        (map, map_uid): (u32, u32),
        may_sleep: bool,
    ) -> Step {
        if self.pending.len() >= MAX_PENDING {
            let rule = format!("The sequence of {} jumps is too complex for async cb.", self.pending.len() + 1);
            return Err(Stop::RejectAt(self.at, rule));
        }
        self.subprogs[subprog].is_async = true;
        let depth = self.cur.top().async_depth + 1;
        let mut frame = Frame { async_depth: depth, ..Frame::new(0, 0, subprog) };
        for (index, kind) in [Kind::ConstMapPtr, Kind::MapKey, Kind::MapValue].into_iter().enumerate() {
            frame.regs[index + 1] = Reg { map_uid, ..Reg::pointer(kind, map) };
        }
        let history = self.history.len();
        // Nothing of the path that leads here matters: the function begins with a stack of its own.
        let state = State { may_sleep, begin: history, ..State::entry_of(frame) };
        self.pending.push(Pending { state, insn: self.subprogs[subprog].start, from: self.at, history });
        Ok(())
    }

    /// Such a function ends.
    pub(in crate::verifier_sim) fn check_later_result(&mut self) -> Step {
        let result = self.reg(0);
        if !result.is_scalar() {
            reject!("At async callback return the register R0 is not a known value ({})", result.type_name());
        }
        self.mark_precise(1);
        let (value, (least, greatest)) = (self.reg(0).val, LATER_RESULTS);
        if value.smin < least || value.smax > greatest {
            return Err(outside("At async callback return", 0, &value, least, greatest));
        }
        Ok(())
    }

    /// A round ends: its result says whether another one may follow.
    pub(in crate::verifier_sim) fn check_callback_result(&mut self) -> Step {
        if !self.reg(0).is_scalar() {
            reject!("R0 not a scalar value");
        }
        self.mark_precise(1);
        let (value, (least, greatest)) = (self.reg(0).val, RESULTS);
        if value.smin < least || value.smax > greatest {
            return Err(outside("At callback return", 0, &value, least, greatest));
        }
        Ok(())
    }

    /// Before Linux 6.13 a callback released its own references and no others.
    pub(in crate::verifier_sim) fn check_reference_in_callback(&self) -> Step {
        if self.kernel < Kernel::V6_18 && self.cur.frames.iter().any(|frame| frame.in_callback) {
            unsupported!("references that callbacks acquire or release are simulated for Linux 6.18 and later");
        }
        Ok(())
    }
}
