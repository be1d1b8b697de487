//! Objects that a program allocates (`bpf_obj_new`, `bpf_obj_drop`, `bpf_refcount_acquire`), and the work queues in map values.

use crate::verifier_sim::kfunc::Call;
use crate::verifier_sim::kfunc::args::Arg;
use crate::verifier_sim::program::record::FieldKind;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::own_number;
use crate::verifier_sim::walk::env::Env;

/// Bytes of the largest object of which each CPU has one (`BPF_GLOBAL_PERCPU_MA_MAX_SIZE`).
const MAX_PER_CPU: u32 = 512;

impl Env<'_> {
    /// What `bpf_obj_new` and `bpf_percpu_obj_new` make.
    pub(super) fn allocated(&self, call: &Call) -> Step<Reg> {
        let each_cpu = call.name == "bpf_percpu_obj_new_impl";
        let Some(id) = call.constant else {
            unsupported!("kernel function {} has other arguments on this kernel", call.name);
        };
        let Ok(id) = u32::try_from(id) else { reject!("local type ID argument must be in range [0, U32_MAX]") };
        let Some(own) = self.own else { reject!("bpf_obj_new/bpf_percpu_obj_new requires prog BTF") };
        if self.refuses_types {
            unsupported!("the kernel refuses the program's BTF");
        }
        let types = own.types();
        let Some(size) = types.size(id).filter(|_| types.is_struct(id) && !types.is_union(id)) else {
            reject!("bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct");
        };
        if each_cpu {
            if size > MAX_PER_CPU {
                reject!("bpf_percpu_obj_new type size ({size}) is greater than {MAX_PER_CPU}");
            }
            if !types.is_numbers(id) {
                reject!("bpf_percpu_obj_new type ID argument must be of a struct of scalars");
            }
            if self.objects.contains_key(&id) {
                reject!("bpf_percpu_obj_new type ID argument must not contain special fields");
            }
        }
        let flags = if each_cpu { Flags::ALLOC | Flags::PERCPU } else { Flags::ALLOC };
        Ok(Reg { flags, ..Reg::pointer(Kind::BtfId, own_number(id)) })
    }

    /// An object is given back.
    pub(super) fn check_dropped(&self, arg: &Arg<'_>, reg: &Reg, call: &Call) -> Step {
        let index = arg.index;
        let (wanted, taken_by) = match reg.kind {
            Kind::BtfId if reg.flags == Flags::ALLOC => ("bpf_obj_drop_impl", true),
            Kind::BtfId if reg.flags == Flags::ALLOC | Flags::PERCPU => ("bpf_percpu_obj_drop_impl", true),
            _ => ("", false),
        };
        if !taken_by {
            reject!("arg#{index} expected pointer to allocated object");
        }
        if call.name != wanted {
            reject!("arg#{index} expected for {wanted}()");
        }
        if reg.ref_id == 0 {
            reject!("allocated object must be referenced");
        }
        Ok(())
    }

    /// An object gets one more reference.
    pub(super) fn check_counted(&self, arg: &Arg<'_>, reg: &Reg, call: &mut Call) -> Step {
        let index = arg.index;
        if !reg.is_object() {
            reject!("arg#{index} is neither owning or non-owning ref");
        }
        call.owns = !reg.is_non_owning() && reg.ref_id != 0;
        let Some(record) = self.kept().record(reg) else { reject!("verifier bug: Couldn't find btf_record") };
        if record.field(FieldKind::Refcount).is_none() {
            reject!("arg#{index} doesn't point to a type with bpf_refcount field");
        }
        call.object = Some(reg.arg);
        Ok(())
    }

    /// The work queue in a map's value (`process_wq_func`).
    pub(super) fn check_queue(&self, arg: &Arg<'_>, reg: &Reg, call: &mut Call) -> Step {
        if reg.kind != Kind::MapValue || !reg.flags.is_empty() {
            reject!("arg#{} doesn't point to a map value", arg.index);
        }
        let Some(field) = self.map(reg.arg).field(FieldKind::Workqueue) else {
            unsupported!("work queues in maps that have none are not simulated");
        };
        let off = (reg.val.bits.value as i64).wrapping_add(i64::from(reg.off));
        if off != i64::from(field.offset) {
            reject!("off {off} doesn't point to 'struct bpf_wq' that is at {}", field.offset);
        }
        call.map = Some((reg.arg, reg.map_uid));
        Ok(())
    }

    /// The map of a work queue.
    pub(super) fn check_kfunc_map(&self, arg: &Arg<'_>, reg: &Reg, call: &mut Call) -> Step {
        if reg.kind != Kind::ConstMapPtr {
            unsupported!("argument {} of kernel function {} is not simulated", arg.index, call.name);
        }
        if let Some((map, uid)) = call.map {
            if self.map(reg.arg).record.fields.is_empty() {
                unsupported!("work queues in maps that have none are not simulated");
            }
            let has_queue = self.map(reg.arg).field(FieldKind::Workqueue).is_some();
            if has_queue && (map, uid) != (reg.arg, reg.map_uid) {
                reject!(
                    "workqueue pointer in R1 map_uid={uid} doesn't match map pointer in R2 map_uid={}",
                    reg.map_uid
                );
            }
        }
        call.map = Some((reg.arg, reg.map_uid));
        Ok(())
    }
}
