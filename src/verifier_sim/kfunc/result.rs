//! What kernel functions return.

use crate::uapi::helper::DynptrKind;
use crate::verifier_sim::kfunc::table::Properties;
use crate::verifier_sim::kfunc::{Call, graph};
use crate::verifier_sim::place::kernel_context;
use crate::verifier_sim::state::Reference;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{KernelTypes, Parameter, structure_number};
use crate::verifier_sim::walk::env::Env;

impl Env<'_> {
    /// What the function leaves in r0.
    pub(super) fn kfunc_result(&mut self, types: &KernelTypes, call: &Call) -> Step<Reg> {
        let of = call.prototype.1;
        if of == 0 {
            return Ok(Reg::NOT_INIT);
        }
        let to = match types.parameter(of) {
            Parameter::Number => return Ok(Reg::UNKNOWN),
            Parameter::Pointer(to) => to,
            Parameter::Other => unsupported!("what kernel function {} returns is not simulated", call.name),
        };
        let mut reg = match call.name.as_str() {
            "bpf_cast_to_kern_ctx" => {
                let name = kernel_context(self.place.prog);
                let Some(id) = name.and_then(|name| types.named(name.as_bytes())) else {
                    unsupported!("the kernel's context of this type of program is not simulated");
                };
                Reg { flags: Flags::TRUSTED, ..Reg::pointer(Kind::BtfId, structure_number(types, id)) }
            }
            "bpf_dynptr_slice" | "bpf_dynptr_slice_rdwr" => self.slice(call)?,
            "bpf_obj_new_impl" | "bpf_percpu_obj_new_impl" => self.allocated(call)?,
            "bpf_refcount_acquire_impl" => {
                let Some(object) = call.object else { reject!("kernel subsystem misconfigured verifier") };
                Reg { flags: Flags::ALLOC, ..Reg::pointer(Kind::BtfId, object) }
            }
            name if graph::finds(name) => self.found_element(call)?,
            _ if types.is_struct(to) => {
                let flags = match call.has(Properties::ITER_NEXT) {
                    true => self.trust_of_element(call),
                    false => Flags::empty(),
                };
                Reg { flags, ..Reg::pointer(Kind::BtfId, structure_number(types, to)) }
            }
            _ => match types.size(to).filter(|size| *size != 0) {
                Some(size) => Reg { flags: Flags::RDONLY, ref_id: call.ref_id, ..Reg::pointer(Kind::Mem, size) },
                None => unsupported!("what kernel function {} returns is not simulated", call.name),
            },
        };
        // More references of an object that the program owns are certain.
        let may_be_null = call.has(Properties::MAY_BE_NULL) && !(call.object.is_some() && call.owns);
        if may_be_null {
            reg.flags |= Flags::MAYBE_NULL;
            reg.id = self.new_id();
        }
        if call.has(Properties::ACQUIRES) {
            self.check_reference_in_callback()?;
            let id = self.new_id();
            self.cur.refs.push(Reference { id, insn: self.at });
            if may_be_null {
                reg.id = id;
            }
            reg.ref_id = id;
        } else if graph::looks(&call.name) {
            self.set_non_owning(&mut reg);
        }
        if reg.id == 0 && self.kept().has_lock(&reg) {
            reg.id = self.new_id();
        }
        Ok(reg)
    }

    /// A part of what a dynptr describes.
    fn slice(&self, call: &Call) -> Step<Reg> {
        let (Some(size), Some(dynptr)) = (call.constant, call.dynptr) else {
            unsupported!("kernel function {} has other arguments on this kernel", call.name);
        };
        let mut flags = match dynptr.kind {
            DynptrKind::Skb | DynptrKind::Xdp => Flags::SLICE | Flags::PACKET,
            DynptrKind::Ringbuf | DynptrKind::Local => Flags::SLICE,
        };
        if call.name == "bpf_dynptr_slice" {
            flags |= Flags::RDONLY;
        } else if !self.place.writes_packets() {
            reject!("the prog does not allow writes to packet data");
        }
        Ok(Reg { flags, map_uid: dynptr.id, ..Reg::pointer(Kind::Mem, size as u32) })
    }
}
