//! What is demanded of a caller without CAP_PERFMON, whose programs must stay harmless also where the processor speculates
//! (`sanitize_ptr_alu`, `sanitize_speculative_path`).

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::program::Masking;
use crate::verifier_sim::spec::{Kernel, Privilege};
use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::state::stack::STACK_SIZE;
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::walk::env::Env;

const PROHIBITED: &str = "pointer arithmetic with it prohibited for !root";

impl Env<'_> {
    /// Whether the processor's speculation counts.
    pub(in crate::verifier_sim) fn may_speculate(&self) -> bool {
        self.privilege != Privilege::Full
    }

    /// The branch that is not taken is walked all the same, with operands of which nothing is known.
    pub(in crate::verifier_sim) fn push_speculation(&mut self, insn: &Insn, target: usize) -> Step {
        if !self.may_speculate() {
            return Ok(());
        }
        if self.kernel < Kernel::V6_18 {
            // Before Linux 6.17 what breaks a rule on such a path is refused.
            unsupported!("speculative paths without CAP_PERFMON are simulated for Linux 6.18");
        }
        let mut state = self.cur.clone();
        state.speculative = true;
        let regs = &mut state.top_mut().regs;
        regs[usize::from(insn.dst)] = Reg::UNKNOWN;
        if insn.code & op::X != 0 {
            regs[usize::from(insn.src)] = Reg::UNKNOWN;
        }
        self.push_state(state, target)
    }

    /// A pointer moves by a known number: how it is masked must be the same on every path. `before` is the pointer in
    /// front of the instruction, `after` behind it.
    pub(in crate::verifier_sim) fn check_masking(
        &mut self,
        insn: &Insn,
        (before, after): (&Reg, &Reg),
        num: &Reg,
        first: bool,
    ) -> Step {
        if insn.code & op::X == 0 || self.cur.speculative {
            return Ok(());
        }
        let (add, negative) = (insn.code & op::OP_MASK == op::ADD, num.val.smin < 0);
        let left = add == negative;
        let dst = insn.dst;
        let sign = if add { "add" } else { "sub" };
        let limit = |reg: &Reg| -> Step<u32> {
            let (limit, most) = match reg.kind {
                Kind::Stack => {
                    let off = (reg.val.bits.value as u32).wrapping_add(reg.off as u32);
                    (off.wrapping_neg(), STACK_SIZE as u32 + u32::from(left))
                }
                Kind::MapValue => {
                    let moved = if left { reg.val.smin as u32 } else { reg.val.umax as u32 };
                    (moved.wrapping_add(reg.off as u32), self.map(reg.arg).spec.value_size)
                }
                _ => {
                    let number = if first { dst } else { insn.src };
                    reject!("R{number} has pointer with unsupported alu operation, {PROHIBITED}")
                }
            };
            if limit >= most {
                reject!("R{dst} tried to {sign} beyond pointer bounds, {PROHIBITED}");
            }
            Ok(limit)
        };
        let (was, is) = (limit(before)?, limit(after)?);
        let limit = (was.wrapping_sub(is) as i32).unsigned_abs();
        self.agree_on_masking(insn, Masking::Pointer { negative, first, limit })
    }

    /// Two numbers are added or subtracted: no other path may do that to a pointer.
    pub(in crate::verifier_sim) fn check_numbers(&mut self, insn: &Insn) -> Step {
        let sums = matches!(insn.code & op::OP_MASK, op::ADD | op::SUB);
        if !self.may_speculate() || !sums || insn.code & op::X == 0 {
            return Ok(());
        }
        self.agree_on_masking(insn, Masking::Numbers)
    }

    fn agree_on_masking(&mut self, insn: &Insn, masking: Masking) -> Step {
        let known = &mut self.aux[self.at].masking;
        if known.is_some_and(|known| known != masking) {
            let sign = if insn.code & op::OP_MASK == op::ADD { "add" } else { "sub" };
            reject!("R{} tried to {sign} from different maps, paths or scalars, {PROHIBITED}", insn.dst);
        }
        *known = Some(masking);
        Ok(())
    }

    /// A pointer that has moved stays inside what it points to (`sanitize_check_bounds`).
    pub(in crate::verifier_sim) fn check_moved(&self, dst: u8, moved: &Reg) -> Step {
        match moved.kind {
            Kind::Stack => {
                let off = i64::from(moved.off).wrapping_add(moved.val.bits.value as i64);
                if !(-(STACK_SIZE as i64)..0).contains(&off) {
                    reject!("R{dst} stack pointer arithmetic goes out of range, prohibited for !root; off={off}");
                }
                Ok(())
            }
            Kind::MapValue => match self.check_map_value(dst, moved, moved.off, 1, false, false) {
                Err(Stop::Reject(rule)) => {
                    reject!("{rule}\nR{dst} pointer arithmetic of map value goes out of range, prohibited for !root")
                }
                other => other,
            },
            _ => Ok(()),
        }
    }
}
