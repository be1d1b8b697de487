//! Sections that a program enters and leaves by kernel functions, and the one that ends it.

use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::reg::{Flags, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::outside;

impl Env<'_> {
    /// `bpf_rcu_read_lock` and the like.
    pub(super) fn enter_or_leave_section(&mut self, name: &str) -> Step {
        let (lock, preempt) = (self.cur.rcu_lock, self.cur.preempt_locks);
        match name {
            "bpf_rcu_read_lock" if lock => reject!("nested rcu read lock (kernel function {name})"),
            "bpf_rcu_read_lock" => self.cur.rcu_lock = true,
            "bpf_rcu_read_unlock" if !lock => reject!("unmatched rcu read unlock (kernel function {name})"),
            "bpf_rcu_read_unlock" => self.leave_rcu(),
            "bpf_preempt_disable" => self.cur.preempt_locks = preempt.saturating_add(1),
            "bpf_preempt_enable" if preempt == 0 => {
                reject!("unmatched attempt to enable preemption (kernel function {name})")
            }
            "bpf_preempt_enable" => self.cur.preempt_locks -= 1,
            _ => {}
        }
        Ok(())
    }

    /// What was valid in the section may be gone.
    fn leave_rcu(&mut self) {
        let distrust = |reg: &mut Reg| {
            reg.flags.remove(Flags::RCU | Flags::MAYBE_NULL);
            reg.flags.insert(Flags::UNTRUSTED);
        };
        self.cur.rcu_lock = false;
        self.cur.for_each_reg(|reg| reg.flags.contains(Flags::RCU), distrust);
        for frame in 0..self.cur.frames.len() {
            for slot in 0..self.cur.frames[frame].stack.len() {
                let found = self.cur.frames[frame].slot(slot);
                if found.is_iterator() && found.reg.flags.contains(Flags::RCU) {
                    distrust(&mut self.cur.frame_mut(frame).slot_mut(slot).reg);
                }
            }
        }
    }

    /// The sections that the program has not left where it ends, or leaves for a tail call.
    pub(in crate::verifier_sim) fn check_sections(&self, place: &str) -> Step {
        let count = self.cur.preempt_locks;
        if self.kernel >= Kernel::V6_18 {
            if self.cur.rcu_lock {
                reject!("{place} cannot be used inside bpf_rcu_read_lock-ed region");
            }
            if count != 0 {
                reject!("{place} cannot be used inside bpf_preempt_disable-ed region");
            }
            return Ok(());
        }
        if self.cur.rcu_lock {
            reject!("bpf_rcu_read_unlock is missing");
        }
        if count != 0 {
            reject!("{count} bpf_preempt_enable{} missing", if count == 1 { " is" } else { "(s) are" });
        }
        Ok(())
    }

    /// `bpf_throw`: the program ends here, and its result is the argument.
    pub(super) fn throw(&mut self) -> Step {
        if self.insns.iter().any(crate::verifier_sim::program::is_subprog_address) {
            unsupported!("exceptions in programs with callbacks are not simulated");
        }
        self.check_source(1)?;
        if self.judged == 0
            && let Some((least, greatest)) = self.place.returns()
        {
            self.mark_precise(1 << 1);
            let value = self.reg(1).val;
            if value.smin < least || value.smax > greatest {
                return Err(outside("At program exit", 1, &value, least, greatest));
            }
        }
        self.check_leaks("bpf_throw")
    }
}
