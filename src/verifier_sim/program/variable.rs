//! Loads of the addresses of the kernel's variables and functions (`check_pseudo_btf_id`).

use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Variable, structure_number};

/// What a load of the address of the variable or function with this ID yields.
pub(in crate::verifier_sim) fn address(types: &KernelTypes, id: u32) -> Step<Reg> {
    if !types.exists(u64::from(id)) {
        reject!("ldimm64 insn specifies invalid btf_id {id}.");
    }
    if types.is_function(id) {
        return Ok(Reg { flags: Flags::RDONLY, ..Reg::pointer(Kind::Mem, 0) });
    }
    let Some((of, variable)) = types.variable_of(id) else {
        reject!("pseudo btf_id {id} in ldimm64 isn't KIND_VAR or KIND_FUNC");
    };
    Ok(match variable {
        Variable::OfEachCpu => Reg { flags: Flags::PERCPU, ..Reg::pointer(Kind::BtfId, structure_number(types, of)) },
        Variable::Structure => Reg::pointer(Kind::BtfId, structure_number(types, of)),
        Variable::Memory(size) => Reg { flags: Flags::RDONLY, ..Reg::pointer(Kind::Mem, size) },
        Variable::Other => unsupported!("a variable whose type has no size is not simulated"),
    })
}
