//! Pointers into the kernel that map values and allocated objects hold (kptrs): loads, stores and `bpf_kptr_xchg`.

use crate::asm::opcode as op;
use crate::verifier_sim::helpers::call::Call;
use crate::verifier_sim::program::record::{Field, FieldKind};
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{own_id, structure_id};
use crate::verifier_sim::walk::env::Env;

/// The kernel's structures that stay valid in an RCU read-side critical section (`rcu_protected_types`).
const RCU_PROTECTED: [&str; 5] = ["prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"];

impl Env<'_> {
    /// A load or a store of the pointer `field` (`check_map_kptr_access`). Returns what is loaded.
    pub(in crate::verifier_sim) fn access_kernel_pointer(&mut self, field: &Field, value: Option<u8>) -> Step<Reg> {
        let insn = self.insns[self.at];
        if insn.code & op::MODE_MASK != op::MEM {
            reject!("kptr in map can only be accessed using BPF_MEM instruction mode");
        }
        let class = insn.code & op::CLASS_MASK;
        if class != op::LDX && field.kind != FieldKind::Pointer {
            reject!("store to referenced kptr disallowed");
        }
        match (class, value) {
            (op::LDX, _) => {
                let id = self.new_id();
                return Ok(Reg { flags: self.loaded_flags(field), id, ..Reg::pointer(Kind::BtfId, field.structure) });
            }
            (op::STX, Some(number)) => {
                let stored = *self.reg(number);
                if stored.is_null() {
                    self.mark_precise(1 << number);
                } else {
                    self.check_pointer_matches(field, number, &stored)?;
                }
            }
            _ if insn.imm != 0 => {
                reject!("BPF_ST imm must be 0 when storing to kptr at off={}", field.offset)
            }
            _ => {}
        }
        Ok(Reg::UNKNOWN)
    }

    /// How far a pointer may be trusted that is read from a map (`btf_ld_kptr_type`).
    fn loaded_flags(&self, field: &Field) -> Flags {
        let own = own_id(field.structure);
        let protected = || own.is_some() || RCU_PROTECTED.contains(&&*self.structure_name(field.structure));
        let safe = field.kind == FieldKind::PerCpuPointer || (field.kind == FieldKind::OwnedPointer && protected());
        if !safe || !self.in_rcu_section() {
            return Flags::MAYBE_NULL | Flags::UNTRUSTED;
        }
        let mut flags = Flags::MAYBE_NULL | Flags::RCU;
        if field.kind == FieldKind::PerCpuPointer {
            flags |= Flags::PERCPU;
        } else if own.is_some() {
            flags |= Flags::ALLOC;
        }
        let record = own.and_then(|id| self.objects.get(&id));
        if record.is_some_and(|record| record.is_element()) {
            flags |= Flags::NON_OWNING;
        }
        flags
    }

    /// The pointer in register `number` may be kept in `field` (`map_kptr_match_type`).
    pub(in crate::verifier_sim) fn check_pointer_matches(&self, field: &Field, number: u8, reg: &Reg) -> Step {
        let wanted = self.structure_name(field.structure);
        let bad = |given: &str| {
            let or =
                if field.kind == FieldKind::Pointer { format!(" or untrusted_ptr_{wanted}") } else { String::new() };
            let kind = reg.type_name();
            reject!("invalid kptr access, R{number} type={kind}{given} expected=ptr_{wanted}{or}")
        };
        if reg.kind != Kind::BtfId {
            return bad("");
        }
        let own = own_id(reg.arg);
        let mut permitted = match own {
            None => Flags::MAYBE_NULL | Flags::TRUSTED | Flags::RCU,
            Some(_) => Flags::MAYBE_NULL | Flags::ALLOC,
        };
        match (own, field.kind) {
            (None, FieldKind::Pointer) => permitted |= Flags::UNTRUSTED,
            (Some(_), FieldKind::PerCpuPointer) => permitted |= Flags::PERCPU,
            _ => {}
        }
        let each_cpu = field.kind == FieldKind::PerCpuPointer;
        if !(reg.flags - permitted).is_empty() || (reg.flags.contains(Flags::PERCPU) && !each_cpu) {
            return bad("");
        }
        self.check_fixed_offset(number, reg, true)?;
        let exact = reg.off == 0 && reg.arg == field.structure;
        let inside = field.kind == FieldKind::Pointer && self.is_inside(reg, field.structure)?;
        if exact && each_cpu && !reg.flags.contains(Flags::PERCPU) {
            // 6.12.117 refuses it, 6.18.44 does not.
            unsupported!("an object that not each CPU has, in a field for those that each has, is not simulated");
        }
        if exact || inside { Ok(()) } else { bad(&self.structure_name(reg.arg)) }
    }

    /// Whether a structure of type `wanted` is where the register points.
    fn is_inside(&self, reg: &Reg, wanted: u32) -> Step<bool> {
        let Ok(off) = u32::try_from(reg.off) else { return Ok(false) };
        let found = match (own_id(reg.arg), own_id(wanted)) {
            (Some(given), Some(wanted)) => self.own.is_some_and(|own| own.types().contains(given, off, wanted)),
            (None, None) => {
                let types = self.kernel_types()?;
                let ids = structure_id(types, reg.arg).zip(structure_id(types, wanted));
                ids.is_some_and(|(given, wanted)| types.contains(given, off, wanted))
            }
            _ => false,
        };
        Ok(found)
    }

    /// The place that `bpf_kptr_xchg` exchanges (`process_kptr_func`).
    pub(in crate::verifier_sim) fn check_exchanged(&self, number: u8, reg: &Reg, call: &mut Call) -> Step {
        if reg.kind == Kind::MapValue {
            let map = self.map(reg.arg);
            if !map.is_typed() {
                reject!("map '{}' has to have BTF in order to use bpf_kptr_xchg", map.spec.name);
            }
            call.map = Some(reg.arg);
        }
        if !reg.val.bits.is_known() {
            reject!("R{number} doesn't have constant offset. kptr has to be at the constant offset");
        }
        let fields = self.kept().record(reg).map_or(&[][..], |record| record.fields.as_slice());
        if fields.iter().any(|field| field.kind == FieldKind::Other) {
            unsupported!("kernel pointers without types are not simulated");
        }
        if !fields.iter().any(|field| field.kind.is_pointer()) {
            reject!("R{number} has no valid kptr");
        }
        // In 32 bits, as the kernel does: a pointer that is farther from its beginning than 2^29 bytes has been refused before.
        let off = reg.off.wrapping_add(reg.val.bits.value as i32);
        let found = fields.iter().find(|field| field.kind.is_pointer() && i64::from(field.offset) == i64::from(off));
        let Some(field) = found else { reject!("off={off} doesn't point to kptr") };
        if field.kind == FieldKind::Pointer {
            reject!("off={off} kptr isn't referenced kptr");
        }
        call.exchanged = Some(*field);
        Ok(())
    }

    /// What is put there (`check_reg_type` of an argument that is released).
    pub(in crate::verifier_sim) fn check_given(&self, number: u8, reg: &Reg, call: &Call) -> Step {
        let Some(field) = call.exchanged else { reject!("kernel subsystem misconfigured verifier") };
        let mut flags = reg.flags - Flags::MAYBE_NULL;
        if flags.contains(Flags::ALLOC) {
            flags -= Flags::ALLOC | Flags::PERCPU;
        }
        if reg.kind != Kind::BtfId || ![Flags::empty(), Flags::TRUSTED, Flags::RCU].contains(&flags) {
            reject!("R{number} type={} expected=ptr_, trusted_ptr_, rcu_ptr_", reg.type_name());
        }
        if reg.may_be_null() {
            if reg.is_object() {
                reject!("verifier bug: invalid PTR_TO_BTF_ID register for type match");
            }
            reject!("Possibly NULL pointer passed to helper arg{number}");
        }
        if reg.is_object() && flags != Flags::empty() {
            reject!("verifier bug: invalid PTR_TO_BTF_ID register for type match");
        }
        self.check_pointer_matches(&field, number, reg)
    }

    /// Pointers to memory of each CPU stay readable in this RCU section when the map owns them.
    pub(in crate::verifier_sim) fn share_exchanged(&mut self, id: u32) {
        if id == 0 || !self.in_rcu_section() {
            return;
        }
        let each_cpu = Flags::ALLOC | Flags::PERCPU;
        self.cur.for_each_reg(
            |reg| reg.ref_id == id && reg.flags.contains(each_cpu),
            |reg| {
                reg.ref_id = 0;
                reg.flags -= Flags::ALLOC;
                reg.flags |= Flags::RCU;
            },
        );
    }

    /// What was there before.
    pub(in crate::verifier_sim) fn exchanged(&self, call: &Call) -> Step<Reg> {
        let Some(field) = call.exchanged else { reject!("kernel subsystem misconfigured verifier") };
        let mut flags = Flags::MAYBE_NULL;
        if own_id(field.structure).is_some() {
            flags |= Flags::ALLOC;
            if field.kind == FieldKind::PerCpuPointer {
                flags |= Flags::PERCPU;
            }
        }
        Ok(Reg { flags, ..Reg::pointer(Kind::BtfId, field.structure) })
    }
}
