//! The walk along every path, instruction by instruction (`do_check`).

pub(super) mod describe;
pub(super) mod env;
pub(super) mod history;
pub(super) mod log;
mod loops;
pub(super) mod precision;
pub(super) mod prune;
mod stack_marks;

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::program::variable::address;
use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::REGS;
use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::stop::{Step, Stop, reject};
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::prune::Visit;

/// Instructions walked before the kernel gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_INSNS: u64 = 1_000_000;

/// The register that has the context of loads from the packet (`ctx_reg` of `check_ld_abs`).
const CONTEXT: u8 = 6;

/// Where a path goes after an instruction.
pub(in crate::verifier_sim) enum Flow {
    /// To this instruction.
    To(usize),
    /// Nowhere: the program ends.
    End,
}

/// The number in r0 is not in the range of results (`verbose_invalid_scalar`).
pub(in crate::verifier_sim) fn outside(place: &str, number: u8, value: &Bounds, least: i64, greatest: i64) -> Stop {
    let least_known = if value.smin == i64::MIN { String::new() } else { format!(" smin={}", value.smin) };
    let most_known = if value.smax == i64::MAX { String::new() } else { format!(" smax={}", value.smax) };
    let unknown = if least_known.is_empty() && most_known.is_empty() { " unknown scalar value" } else { "" };
    let known = format!("{least_known}{most_known}{unknown}");
    Stop::Reject(format!("{place} the register R{number} has{known} should have been in [{least}, {greatest}]"))
}

impl Env<'_> {
    /// Walks every path from the program's first instruction.
    pub(in crate::verifier_sim) fn walk(&mut self) -> Step {
        loop {
            self.work.insns += 1;
            if self.work.insns > MAX_INSNS {
                reject!("BPF program is too large. Processed {} insn", self.work.insns);
            }
            let flow = if self.aux[self.at].prune_point && matches!(self.visit()?, Visit::Covered) {
                self.work.pruned += 1;
                self.log_safe();
                Flow::End
            } else {
                self.enter_insn();
                self.log_insn();
                self.walk_insn()?
            };
            match flow {
                Flow::To(next) => self.at = next,
                Flow::End => {
                    if !self.next_branch() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One instruction. A speculative path that breaks a rule ends there, where the kernel puts a barrier.
    fn walk_insn(&mut self) -> Step<Flow> {
        let at = self.at;
        if self.cur.speculative && self.aux[at].barrier_before {
            return Ok(Flow::End);
        }
        self.log_stack_begin();
        let flow = match self.step() {
            Err(Stop::Reject(rule)) if self.cur.speculative => {
                self.log_line(&rule);
                (self.aux[at].barrier_before, self.aux[at].masking) = (true, None);
                Flow::End
            }
            Ok(_) if self.cur.speculative && self.aux[at].barrier_behind => Flow::End,
            flow => flow?,
        };
        self.log_stack_commit();
        Ok(flow)
    }

    /// Ends the current path and goes on with the latest branch, if there is one.
    fn next_branch(&mut self) -> bool {
        self.scratch_all();
        self.end_branch();
        self.log_stack_update();
        let Some(branch) = self.pending.pop() else { return false };
        self.cur = branch.state;
        self.at = branch.insn;
        self.history.truncate(branch.history);
        self.log_branch(branch.from);
        true
    }

    /// One instruction.
    fn step(&mut self) -> Step<Flow> {
        let insn = self.insns[self.at];
        match insn.code & op::CLASS_MASK {
            op::ALU | op::ALU64 => self.alu(&insn)?,
            op::LDX => {
                let sign = insn.code & op::MODE_MASK == op::MEMSX;
                self.load(&insn, sign, "ldx")?;
            }
            op::STX if insn.code & op::MODE_MASK == op::ATOMIC => self.atomic(&insn)?,
            op::STX => {
                if insn.code & op::MODE_MASK != op::MEM || insn.imm != 0 {
                    reject!("BPF_STX uses reserved fields");
                }
                self.store(&insn)?;
            }
            op::ST => {
                if insn.code & op::MODE_MASK != op::MEM || insn.src != 0 {
                    reject!("BPF_ST uses reserved fields");
                }
                self.store_imm(&insn)?;
            }
            op::JMP | op::JMP32 => return self.jump(&insn),
            _ if matches!(insn.code & op::MODE_MASK, op::ABS | op::IND) => self.load_from_packet(&insn)?,
            _ => {
                self.load_special(&insn)?;
                return Ok(Flow::To(self.at + 2));
            }
        }
        Ok(Flow::To(self.at + 1))
    }

    fn jump(&mut self, insn: &Insn) -> Step<Flow> {
        self.work.jumps += 1;
        let jmp32 = insn.code & op::CLASS_MASK == op::JMP32;
        let immediate = insn.code & op::X == 0;
        match insn.code & op::OP_MASK {
            op::CALL => {
                let kfunc = insn.src == op::PSEUDO_KFUNC_CALL;
                if !immediate || jmp32 || (!kfunc && insn.off != 0) || insn.src > op::PSEUDO_KFUNC_CALL || insn.dst != 0
                {
                    reject!("BPF_CALL uses reserved fields");
                }
                self.call(insn)
            }
            op::JA => {
                let unused = if jmp32 { i32::from(insn.off) } else { insn.imm };
                if !immediate || insn.src != 0 || insn.dst != 0 || unused != 0 {
                    reject!("BPF_JA uses reserved fields");
                }
                Ok(Flow::To(crate::verifier_sim::program::jump_target(self.at, insn) as usize))
            }
            op::EXIT => {
                if !immediate || insn.imm != 0 || insn.src != 0 || insn.dst != 0 || jmp32 {
                    reject!("BPF_EXIT uses reserved fields");
                }
                self.exit()
            }
            _ => self.conditional(insn),
        }
    }

    fn exit(&mut self) -> Step<Flow> {
        let main = self.cur.depth() == 0;
        if main {
            self.check_leaks("BPF_EXIT instruction in main prog")?;
        }
        if !main {
            return self.leave_subprog().map(Flow::To);
        }
        self.check_source(0)?;
        if self.is_secret(0) {
            reject!("R0 leaks addr as return value");
        }
        if self.cur.top().async_depth != 0 {
            self.check_later_result()?;
            return Ok(Flow::End);
        }
        if self.judged != 0 {
            let result = self.reg(0);
            if !result.is_scalar() {
                reject!("At subprogram exit the register R0 is not a scalar value ({})", result.type_name());
            }
            return Ok(Flow::End);
        }
        if let Some((least, greatest)) = self.place.returns() {
            let result = self.reg(0);
            if !result.is_scalar() {
                reject!("At program exit the register R0 is not a known value ({})", result.type_name());
            }
            self.mark_precise(1);
            let result = self.reg(0);
            // Linux before 6.8 compared the known bits, later ones the signed range.
            let value = &result.val;
            let fits = if self.kernel >= Kernel::V6_12 {
                value.smin >= least && value.smax <= greatest
            } else {
                crate::verifier_sim::numbers::tnum::Tnum::range(least as u64, greatest as u64).contains(value.bits)
            };
            if !fits {
                return Err(outside("At program exit", 0, value, least, greatest));
            }
        }
        Ok(Flow::End)
    }

    /// No reference and no lock is held where the program ends (`check_resource_leak`).
    pub(in crate::verifier_sim) fn check_leaks(&self, place: &str) -> Step {
        // Before Linux 6.13 the lock came first, in other words.
        let newer = self.kernel >= Kernel::V6_18;
        if self.cur.lock.is_some() {
            match newer {
                true => reject!("{place} cannot be used inside bpf_spin_lock-ed region"),
                false => reject!("bpf_spin_unlock is missing"),
            }
        }
        let ends = place.starts_with("BPF_EXIT") || place == "bpf_throw";
        if !newer && ends {
            self.check_sections(place)?;
        }
        let lost =
            self.cur.refs.iter().map(|lost| format!("Unreleased reference id={} alloc_insn={}", lost.id, lost.insn));
        let lost: Vec<_> = lost.collect();
        match (lost.join("\n"), newer) {
            (lost, _) if lost.is_empty() => {}
            (lost, true) => reject!("{lost}\n{place} would lead to reference leak"),
            (lost, false) => reject!("{lost}"),
        }
        if newer || !ends { self.check_sections(place) } else { Ok(()) }
    }

    /// A load from the packet as classic BPF has it: the context is in r6, r0 to r5 are gone (`check_ld_abs`).
    fn load_from_packet(&mut self, insn: &Insn) -> Step {
        let indirect = insn.code & op::MODE_MASK == op::IND;
        if ![ProgType::SOCKET_FILTER, ProgType::SCHED_CLS, ProgType::SCHED_ACT].contains(&self.place.prog) {
            reject!("BPF_LD_[ABS|IND] instructions not allowed for this program type");
        }
        let wide = insn.code & op::SIZE_MASK == op::DW;
        if insn.dst != 0 || insn.off != 0 || wide || (!indirect && insn.src != 0) {
            reject!("BPF_LD_[ABS|IND] uses reserved fields");
        }
        self.check_source(CONTEXT)?;
        self.check_leaks("BPF_LD_[ABS|IND]")?;
        let context = *self.reg(CONTEXT);
        if context.kind != Kind::Ctx {
            reject!("at the time of BPF_LD_ABS|IND R6 != pointer to skb");
        }
        if indirect {
            self.check_source(insn.src)?;
        }
        self.check_fixed_offset(CONTEXT, &context, false)?;
        self.scratch(0x3f);
        let regs = &mut self.cur.top_mut().regs;
        regs[..6].fill(Reg::NOT_INIT);
        regs[0] = Reg::UNKNOWN;
        Ok(())
    }

    /// A 64-bit immediate load.
    fn load_special(&mut self, insn: &Insn) -> Step {
        match insn.code & op::MODE_MASK {
            op::IMM => {}
            _ => reject!("invalid BPF_LD mode"),
        }
        if insn.code & op::SIZE_MASK != op::DW {
            reject!("invalid BPF_LD_IMM insn");
        }
        if insn.off != 0 {
            reject!("BPF_LD_IMM64 uses reserved fields");
        }
        self.check_destination(insn.dst)?;
        let high = self.insns.get(self.at + 1).map_or(0, |next| next.imm);
        let loaded = match insn.src {
            op::PSEUDO_FUNC if self.functions.is_empty() => reject!("missing btf func_info"),
            op::PSEUDO_FUNC => self.function_address(insn)?,
            op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE => {
                let Some(map) = self.aux[self.at].map else { reject!("bpf verifier is misconfigured") };
                if insn.src == op::PSEUDO_MAP_FD {
                    crate::verifier_sim::state::reg::Reg::pointer(
                        crate::verifier_sim::state::reg::Kind::ConstMapPtr,
                        map,
                    )
                } else {
                    crate::verifier_sim::state::reg::Reg {
                        off: high,
                        ..crate::verifier_sim::state::reg::Reg::pointer(
                            crate::verifier_sim::state::reg::Kind::MapValue,
                            map,
                        )
                    }
                }
            }
            op::PSEUDO_BTF_ID => address(self.kernel_types()?, insn.imm as u32)?,
            _ => crate::verifier_sim::state::reg::Reg::known((high as u32 as u64) << 32 | u64::from(insn.imm as u32)),
        };
        *self.reg_mut(insn.dst) = loaded;
        Ok(())
    }

    /// The registers that `insn` names, for messages.
    pub(in crate::verifier_sim) fn named_registers(insn: &Insn) -> Vec<u8> {
        let mut named = Vec::new();
        let call = matches!(insn.code & op::CLASS_MASK, op::JMP) && insn.code & op::OP_MASK == op::CALL;
        if call {
            named.extend(1..=5);
        } else {
            named.push(insn.dst);
            if !named.contains(&insn.src) {
                named.push(insn.src);
            }
        }
        named.retain(|reg| usize::from(*reg) < REGS);
        named
    }
}
