//! The kernel's variables of which each CPU has one.

use crate::uapi::helper::id;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, unsupported};
use crate::verifier_sim::types::{own_id, structure_id, structure_number};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    /// The variable of one CPU, behind the pointer in r1 to that of each.
    pub(in crate::verifier_sim) fn of_one_cpu(&mut self, helper: i32) -> Step<Reg> {
        let types = self.kernel_types()?;
        let (of, flags) = (self.reg(1).arg, self.reg(1).flags);
        if flags.contains(Flags::RCU) {
            if own_id(of).is_none() {
                unsupported!("the kernel's memory of each CPU that RCU protects is not simulated");
            }
            // An object of which each CPU has one, in a map.
            return Ok(Reg { flags: Flags::ALLOC | Flags::RCU, ..Reg::pointer(Kind::BtfId, of) });
        }
        if own_id(of).is_some() {
            unsupported!("objects of each CPU that no map keeps are not simulated");
        }
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
