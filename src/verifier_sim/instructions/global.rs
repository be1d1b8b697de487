//! Global functions: a call is checked by the types of the arguments, and the function is judged alone, for all of them
//! (`check_func_call`, `btf_check_func_arg_match`, `do_check_subprogs`).

use crate::asm::Insn;
use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::helpers::mem::Use;
use crate::verifier_sim::instructions::mem::Direction;
use crate::verifier_sim::program::functions;
use crate::verifier_sim::spec::{Argument, Kernel};
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::state::{Frame, State};
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::walk::env::Env;

/// Arguments that a function can have (`MAX_BPF_FUNC_REG_ARGS`).
const MAX_ARGUMENTS: usize = 5;

impl Env<'_> {
    /// Calls one of the program's own functions. Says where the path goes on.
    pub(in crate::verifier_sim) fn call_function(&mut self, insn: &Insn) -> Step<usize> {
        let number = self.named_function(insn)?;
        if number != 0 && self.subprogs[number].global {
            self.assume_function(number)?;
            return Ok(self.at + 1);
        }
        self.enter_subprog(number)
    }

    /// The number of the function that `insn` calls, or whose address it loads.
    pub(in crate::verifier_sim) fn named_function(&self, insn: &Insn) -> Step<usize> {
        let Some(number) = functions::named_by(insn, self.at, &self.subprogs) else {
            reject!("verifier bug. No program starts at insn {}", self.at as i64 + i64::from(insn.imm) + 1);
        };
        Ok(number)
    }

    /// Calls a global function, which is judged later.
    fn assume_function(&mut self, number: usize) -> Step {
        if self.cur.lock.is_some() {
            reject!("global function calls are not allowed while holding a lock,\nuse static function instead");
        }
        if self.cur.preempt_locks != 0 && self.kernel < Kernel::V6_18 {
            reject!("global function calls are not allowed with preemption disabled,\nuse static function instead");
        }
        let function = &self.functions[number];
        let name = &function.name;
        self.check_arguments(number).map_err(|stop| match stop {
            Stop::Reject(rule) => {
                Stop::Reject(format!("{rule}\nCaller passes invalid args into func#{number} ('{name}')"))
            }
            stop => stop,
        })?;
        self.log_line(&format!("Func#{number} ('{name}') is global and assumed valid."));
        if functions::moves_packet(self.insns, &self.subprogs, number, self.place) {
            self.forget_packets();
        }
        self.called.insert(number);
        self.scratch(0x3f);
        let regs = &mut self.cur.top_mut().regs;
        regs[..6].fill(Reg::NOT_INIT);
        regs[0] = Reg::UNKNOWN;
        self.record_assumed();
        Ok(())
    }

    /// The declared types are such that there are rules for them (`btf_prepare_func_args`).
    fn check_prototype(&self, number: usize) -> Step {
        let function = &self.functions[number];
        let name = &function.name;
        let count = function.arguments.len();
        if count > MAX_ARGUMENTS {
            reject!("Global function {name}() with {count} > {MAX_ARGUMENTS} args. Buggy compiler.");
        }
        if !function.returns_number {
            reject!("Global function {name}() doesn't return scalar. Only those are supported.");
        }
        if function.arguments.contains(&Argument::Other) {
            unsupported!("an argument of the global function {name} has a type that is not simulated");
        }
        Ok(())
    }

    fn check_arguments(&mut self, number: usize) -> Step {
        self.check_prototype(number)?;
        for (index, argument) in self.functions[number].arguments.iter().enumerate() {
            self.check_argument(index, *argument)?;
        }
        Ok(())
    }

    fn check_argument(&mut self, index: usize, argument: Argument) -> Step {
        let number = index as u8 + 1;
        let reg = *self.reg(number);
        match argument {
            Argument::Number if !reg.is_scalar() => reject!("R{number} is not a scalar"),
            Argument::Number => {}
            Argument::Context => {
                self.check_fixed_offset(number, &reg, false)?;
                if reg.kind != Kind::Ctx {
                    reject!("arg#{index} expects pointer to ctx");
                }
            }
            Argument::Memory { size, nullable } => {
                self.check_source(number)?;
                // A number that is known to be 0 passes for every pointer, as in Linux 6.18.
                if reg.is_null() {
                    return Ok(());
                }
                self.check_memory_argument(number, size)?;
                if !nullable && reg.may_be_null() {
                    reject!("arg#{index} is expected to be non-NULL");
                }
            }
            Argument::Other => {}
        }
        Ok(())
    }

    /// The function may read and write `size` bytes at this pointer, which may be NULL (`check_mem_reg`).
    fn check_memory_argument(&mut self, number: u8, size: u32) -> Step {
        let reg = *self.reg(number);
        if !matches!(reg.kind, Kind::Stack | Kind::MapValue | Kind::Mem | Kind::Packet | Kind::PacketMeta) {
            unsupported!("a pointer of type {} for a global function is not simulated", reg.type_name());
        }
        self.reg_mut(number).flags.remove(Flags::MAYBE_NULL);
        for direction in [Direction::Read, Direction::Write] {
            let how = Use { direction, fills: false, zero_ok: false };
            self.check_helper_memory(number, size, how, &mut Call::default())?;
        }
        *self.reg_mut(number) = reg;
        Ok(())
    }

    /// Judges the global functions that are called, each for all arguments of its types, and those that they call.
    pub(in crate::verifier_sim) fn walk_global_functions(&mut self) -> Step {
        let mut judged = vec![false; self.subprogs.len()];
        // In rounds by number: a function that a later one calls waits for the next round.
        let mut after = 0;
        loop {
            let next = self.called.range(after..).find(|number| !judged[**number]).copied();
            match next {
                Some(number) => {
                    judged[number] = true;
                    self.judge_function(number)?;
                    after = number + 1;
                }
                None if after == 0 => return Ok(()),
                None => after = 0,
            }
        }
    }

    fn judge_function(&mut self, number: usize) -> Step {
        let function = &self.functions[number];
        self.log_line(&format!("Validating {}() func#{number}...", function.name));
        self.check_prototype(number)?;
        let mut frame = Frame::new(0, 0, number);
        for (index, argument) in function.arguments.iter().enumerate() {
            frame.regs[index + 1] = match *argument {
                Argument::Context => Reg::pointer(Kind::Ctx, 0),
                Argument::Memory { size, nullable } => {
                    let flags = if nullable { Flags::MAYBE_NULL } else { Flags::empty() };
                    Reg { flags, id: self.new_id(), ..Reg::pointer(Kind::Mem, size) }
                }
                Argument::Number | Argument::Other => Reg::UNKNOWN,
            };
        }
        self.judged = number;
        self.cur = State::entry_of(frame);
        self.at = self.subprogs[number].start;
        self.history.truncate(0);
        self.explored.begin_function();
        self.scratch_all();
        self.walk()?;
        self.log_line(&format!("Func#{number} ('{}') is safe for any args that match its prototype", function.name));
        Ok(())
    }
}
