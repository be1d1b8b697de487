//! Loads through pointers to the kernel's structures (`check_ptr_to_btf_access`, `check_ptr_to_map_access`).

use crate::verifier_sim::spec::{Kernel, MapType};
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject, unsupported};
use crate::verifier_sim::types::{Found, KernelTypes, own_id, own_number, structure_id, structure_number};
use crate::verifier_sim::walk::env::Env;

/// The structure that holds a map of this type (`map_btf_id` of the kernel's `struct bpf_map_ops`).
fn map_structure(kind: MapType) -> Option<&'static str> {
    Some(match kind {
        MapType::ARRAY
        | MapType::PROG_ARRAY
        | MapType::PERF_EVENT_ARRAY
        | MapType::PERCPU_ARRAY
        | MapType::CGROUP_ARRAY
        | MapType::ARRAY_OF_MAPS => "bpf_array",
        MapType::HASH | MapType::PERCPU_HASH | MapType::LRU_HASH | MapType::LRU_PERCPU_HASH | MapType::HASH_OF_MAPS => {
            "bpf_htab"
        }
        MapType::STACK_TRACE => "bpf_stack_map",
        MapType::LPM_TRIE => "lpm_trie",
        MapType::DEVMAP | MapType::DEVMAP_HASH => "bpf_dtab",
        MapType::SOCKMAP => "bpf_stab",
        MapType::SOCKHASH => "bpf_shtab",
        MapType::CPUMAP => "bpf_cpu_map",
        MapType::XSKMAP => "xsk_map",
        MapType::CGROUP_STORAGE | MapType::PERCPU_CGROUP_STORAGE => "bpf_cgroup_storage_map",
        MapType::REUSEPORT_SOCKARRAY => "reuseport_array",
        MapType::QUEUE | MapType::STACK => "bpf_queue_stack",
        MapType::SK_STORAGE | MapType::INODE_STORAGE | MapType::TASK_STORAGE | MapType::CGRP_STORAGE => {
            "bpf_local_storage_map"
        }
        MapType::RINGBUF | MapType::USER_RINGBUF => "bpf_ringbuf_map",
        MapType::BLOOM_FILTER => "bpf_bloom_filter",
        _ => return None,
    })
}

impl Env<'_> {
    /// The types of the kernel, without which its structures cannot be followed.
    pub(in crate::verifier_sim) fn kernel_types(&self) -> Step<&'static KernelTypes> {
        match self.types.filter(|_| self.kernel >= Kernel::V6_12) {
            Some(types) => Ok(types),
            None => unsupported!("the kernel's structures need its BTF"),
        }
    }

    /// What a load of `size` bytes at `off` of the structure behind `reg`, in register `number`, yields.
    pub(in crate::verifier_sim) fn load_structure(&mut self, number: u8, reg: &Reg, off: i32, size: u32) -> Step<Reg> {
        if !self.may_leak_pointers() {
            reject!("'struct' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN");
        }
        let name = format!("ptr_{}", self.structure_name(reg.arg));
        let Ok(off) = u32::try_from(off) else { reject!("R{number} is {name} invalid negative access: off={off}") };
        if !reg.val.bits.is(0) {
            reject!("R{number} is {name} invalid variable offset: off={off}, var_off={}", reg.val.bits);
        }
        if reg.flags.contains(Flags::USER) {
            reject!("R{number} is {name} access user memory: off={off}");
        }
        if reg.flags.contains(Flags::PERCPU) {
            reject!("R{number} is {name} access percpu memory: off={off}");
        }
        if let (Some(id), Some(own)) = (own_id(reg.arg), self.own) {
            return self.load_object(own.types(), reg, id, (off, size));
        }
        let types = self.kernel_types()?;
        if self.cur.may_sleep {
            unsupported!("the kernel's structures in functions that may sleep are not simulated");
        }
        let Some(id) = structure_id(types, reg.arg) else { unsupported!("this kernel has no such structure") };
        let (to, flags) = match self.find(types, id, off, size)? {
            Found::Pointer { to, flags, field } => (to, inherit(types, reg, id, (to, flags, field))),
            other => return Ok(self.found(types, other)),
        };
        Ok(self.found(types, Found::Pointer { to, flags, field: 0 }))
    }

    /// The same for an object of the program's own type `id` (`btf_struct_access`). Stores are checked like loads.
    fn load_object(&mut self, own: &KernelTypes, reg: &Reg, id: u32, (off, size): (u32, u32)) -> Step<Reg> {
        if reg.flags.contains(Flags::ALLOC | Flags::UNTRUSTED) {
            unsupported!("loads from objects that may be gone are not simulated");
        }
        if !reg.is_object() {
            // The program has it from a map, and need not own it any more.
            return Ok(match self.find(own, id, off, size)? {
                Found::Pointer { to, .. } => {
                    Reg { flags: Flags::UNTRUSTED, ..Reg::pointer(Kind::BtfId, own_number(to)) }
                }
                other => self.found(own, other),
            });
        }
        if !reg.flags.intersects(Flags::NON_OWNING | Flags::RCU) && reg.ref_id == 0 {
            reject!("verifier bug: ref_obj_id for allocated object must be non-zero");
        }
        let end = u64::from(off) + u64::from(size);
        let touched = self.kept().record(reg).and_then(|record| record.touched(off.into(), end).next());
        if let Some(field) = touched {
            reject!("direct access to {} is disallowed", field.kind.name());
        }
        Ok(match self.find(own, id, off, size)? {
            Found::Address => self.found(own, Found::Address),
            // What a pointer to a structure in it points to is not known.
            _ => Reg::UNKNOWN,
        })
    }

    /// The same for a map itself.
    pub(in crate::verifier_sim) fn access_map_structure(
        &mut self,
        number: u8,
        reg: &Reg,
        off: i32,
        size: u32,
        write: bool,
    ) -> Step<Reg> {
        let kind = self.map(reg.arg).kind();
        let Some(name) = map_structure(kind) else {
            reject!("map_ptr access not supported for map type {}", kind.number())
        };
        if !self.may_leak_pointers() {
            reject!("'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN");
        }
        let Ok(off) = u32::try_from(off) else { reject!("R{number} is {name} invalid negative access: off={off}") };
        if write {
            reject!("only read from {name} is supported");
        }
        let types = self.kernel_types()?;
        let Some(id) = types.named(name.as_bytes()) else { unsupported!("this kernel has no struct {name}") };
        let found = self.find(types, id, off, size)?;
        Ok(self.found(types, found))
    }

    fn find(&self, types: &KernelTypes, id: u32, off: u32, size: u32) -> Step<Found> {
        match types.find(id, off, size) {
            Ok(found) => Ok(found),
            Err(rule) => reject!("{rule}"),
        }
    }

    /// The register that holds what was found (`mark_btf_ld_reg`).
    fn found(&mut self, types: &KernelTypes, found: Found) -> Reg {
        match found {
            Found::Scalar => Reg::UNKNOWN,
            // Linux before 6.17 made numbers of them.
            Found::Address if self.kernel < Kernel::V6_18 => Reg::UNKNOWN,
            Found::Address => Reg { flags: Flags::RDONLY | Flags::UNTRUSTED, ..Reg::pointer(Kind::Mem, 0) },
            Found::Pointer { to, flags, .. } => {
                let id = if flags.contains(Flags::MAYBE_NULL) { self.new_id() } else { 0 };
                Reg { flags, id, ..Reg::pointer(Kind::BtfId, structure_number(types, to)) }
            }
        }
    }

    /// The kernel function `bpf_rdonly_cast`: an address becomes a pointer to a structure that only faults safely.
    pub(in crate::verifier_sim) fn rdonly_cast(&mut self) -> Step {
        let types = self.kernel_types()?;
        self.check_source(2)?;
        let wanted = self.reg(2);
        if !wanted.is_scalar() {
            reject!("R2 is not a scalar");
        }
        if !wanted.val.bits.is_known() {
            reject!("R2 must be a known constant");
        }
        let id = wanted.val.bits.value;
        self.mark_precise(1 << 2);
        let result = match u32::try_from(id) {
            Ok(id) if types.is_struct(id) => {
                Reg { flags: Flags::UNTRUSTED, ..Reg::pointer(Kind::BtfId, structure_number(types, id)) }
            }
            Ok(0) if self.kernel >= Kernel::V6_18 => {
                Reg { flags: Flags::RDONLY | Flags::UNTRUSTED, ..Reg::pointer(Kind::Mem, 0) }
            }
            Ok(id) if types.exists(u64::from(id)) => {
                reject!("kfunc bpf_rdonly_cast type ID argument must be of a struct or void");
            }
            _ => reject!("Unknown type ID {id} passed to kfunc bpf_rdonly_cast"),
        };
        let regs = &mut self.cur.top_mut().regs;
        regs[..6].fill(Reg::NOT_INIT);
        regs[0] = result;
        Ok(())
    }
}

/// How far a pointer found in a structure may be trusted, given how far the structure is. Our programs never sleep, so
/// they are always in an RCU read-side critical section.
fn inherit(types: &KernelTypes, parent: &Reg, id: u32, found: (u32, Flags, u32)) -> Flags {
    let (to, mut flags, field) = found;
    if parent.flags.contains(Flags::UNTRUSTED) {
        return Flags::UNTRUSTED;
    }
    let listed = |suffix: &str| types.is_listed(id, suffix, field, to);
    let trusted = parent.ref_id != 0 || parent.flags == Flags::TRUSTED;
    if trusted || parent.flags.contains(Flags::RCU) {
        if listed("__safe_trusted") {
            return flags | Flags::TRUSTED;
        }
        if listed("__safe_trusted_or_null") {
            return flags | Flags::TRUSTED | Flags::MAYBE_NULL;
        }
        if listed("__safe_rcu") {
            return flags | Flags::RCU;
        }
        let or_null = listed("__safe_rcu_or_null");
        if flags.contains(Flags::RCU) || or_null {
            if or_null {
                flags.remove(Flags::UNTRUSTED);
            }
            return flags | Flags::RCU | Flags::MAYBE_NULL;
        }
        if flags.intersects(Flags::PERCPU | Flags::USER) {
            return flags;
        }
    }
    flags - (Flags::TRUSTED | Flags::RCU)
}
