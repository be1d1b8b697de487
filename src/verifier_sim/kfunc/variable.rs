//! The kernel's variables of which each CPU has one.

use crate::uapi::helper::id;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, unsupported};
use crate::verifier_sim::types::{structure_id, structure_number};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    /// The variable of one CPU, behind the pointer in r1 to that of each.
    pub(in crate::verifier_sim) fn of_one_cpu(&mut self, helper: i32) -> Step<Reg> {
        let types = self.kernel_types()?;
        let of = self.reg(1).arg;
        let Some(of) = structure_id(types, of) else {
            unsupported!("this kernel has no such variable");
        };
        let mut reg = match types.size(of) {
            _ if types.is_struct(of) => Reg::pointer(Kind::BtfId, structure_number(types, of)),
            Some(size) => Reg { flags: Flags::RDONLY, ..Reg::pointer(Kind::Mem, size) },
            None => unsupported!("a variable whose type has no size is not simulated"),
        };
        if helper == id::PER_CPU_PTR {
            reg.flags |= Flags::MAYBE_NULL;
        }
        Ok(reg)
    }
}
