//! Special fields of map values and of objects that programs allocate: which value has which, and the locks among them.

use std::collections::BTreeMap;

use crate::verifier_sim::program::maps::Map;
use crate::verifier_sim::program::record::{FieldKind, Record};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::Lock;
use crate::verifier_sim::state::reg::{Flags, Kind, Reg};
use crate::verifier_sim::stop::{Step, reject};
use crate::verifier_sim::types::own_id;
use crate::verifier_sim::walk::env::Env;

/// What has special fields.
#[derive(Clone, Copy)]
pub(in crate::verifier_sim) struct Kept<'k> {
    pub(in crate::verifier_sim) maps: &'k [Map<'k>],
    pub(in crate::verifier_sim) objects: &'k BTreeMap<u32, Record>,
}

impl<'k> Kept<'k> {
    /// The special fields of what the register points to (`reg_btf_record`).
    pub(in crate::verifier_sim) fn record(self, reg: &Reg) -> Option<&'k Record> {
        match reg.kind {
            Kind::MapValue => self.maps.get(reg.arg as usize).map(|map| &map.record),
            Kind::BtfId if reg.is_object() => self.objects.get(&own_id(reg.arg)?),
            _ => None,
        }
    }

    /// Whether there may be a lock in it: then pointers to different values are told apart (`reg_may_point_to_spin_lock`).
    pub(in crate::verifier_sim) fn has_lock(self, reg: &Reg) -> bool {
        let record = self.record(reg).filter(|_| !reg.may_be_null());
        record.is_some_and(|record| {
            [FieldKind::SpinLock, FieldKind::ResSpinLock].into_iter().any(|lock| record.field(lock).is_some())
        })
    }
}

impl Env<'_> {
    /// What has special fields.
    pub(in crate::verifier_sim) fn kept(&self) -> Kept<'_> {
        Kept { maps: &self.maps, objects: &self.objects }
    }

    /// `bpf_spin_lock` or `bpf_spin_unlock` of what register `number` points to (`process_spin_lock`).
    pub(in crate::verifier_sim) fn check_spin_lock(&mut self, number: u8, reg: &Reg, lock: bool) -> Step {
        if self.in_comparison() {
            reject!("can't spin_{{lock,unlock}} in rbtree cb");
        }
        if !reg.val.bits.is_known() {
            reject!("R{number} doesn't have constant offset. bpf_spin_lock has to be at the constant offset");
        }
        let map = (reg.kind == Kind::MapValue).then_some(reg.arg);
        let (what, name) = match map {
            Some(map) => ("map", self.map(map).spec.name.as_str()),
            None => ("local", "kptr"),
        };
        if map.is_some_and(|map| !self.map(map).is_typed()) {
            reject!("map '{name}' has to have BTF in order to use bpf_spin_lock");
        }
        let field = self.kept().record(reg).and_then(|record| record.field(FieldKind::SpinLock));
        let Some(field) = field else { reject!("{what} '{name}' has no valid bpf_spin_lock") };
        let off = reg.place();
        if off != i64::from(field.offset) {
            reject!("off {off} doesn't point to 'struct bpf_spin_lock' that is at {}", field.offset);
        }
        let this = Lock::in_value(reg);
        match (lock, self.cur.lock) {
            (true, Some(_)) => reject!("Locking two bpf_spin_locks are not allowed"),
            (true, None) => self.cur.lock = Some(this),
            (false, None) => reject!("bpf_spin_unlock without taking a lock"),
            (false, Some(held)) if held != this => reject!("bpf_spin_unlock of different lock"),
            (false, Some(_)) => {
                self.cur.lock = None;
                // The elements of lists and trees may be gone.
                let leaks = self.may_leak_pointers();
                let gone = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT };
                self.cur.for_each_reg(Reg::is_non_owning, |reg| *reg = gone);
            }
        }
        Ok(())
    }

    /// The lock in what `reg` points to is held (`check_reg_allocation_locked`).
    pub(in crate::verifier_sim) fn check_locked(&self, reg: &Reg, root: &str) -> Step {
        let lock = self.kept().record(reg).and_then(|record| record.field(FieldKind::SpinLock));
        let off = lock.map_or(-22, |lock| i64::from(lock.offset));
        let must = format!("bpf_spin_lock at off={off} must be held for {root}");
        let this = Lock::in_value(reg);
        match self.cur.lock {
            None => reject!("{must}"),
            Some(held) if held != this => {
                reject!("held lock and object are not in the same allocation\n{must}")
            }
            Some(_) => Ok(()),
        }
    }

    /// The object now belongs to a list or tree, whose lock is held (`ref_set_non_owning`).
    pub(in crate::verifier_sim) fn set_non_owning(&self, reg: &mut Reg) {
        reg.flags |= Flags::NON_OWNING;
        let counted = self.kept().record(reg).is_some_and(|record| record.field(FieldKind::Refcount).is_some());
        if counted {
            reg.flags |= Flags::RCU;
        }
    }

    /// Whether what RCU protects stays valid here (`in_rcu_cs`).
    pub(in crate::verifier_sim) fn in_rcu_section(&self) -> bool {
        !self.cur.may_sleep || self.cur.rcu_lock || self.cur.lock.is_some()
    }

    /// Whether a tree compares its elements: a function does, which `bpf_rbtree_add` has called (`in_rbtree_lock_required_cb`).
    pub(in crate::verifier_sim) fn in_comparison(&self) -> bool {
        self.kernel >= Kernel::V6_12
            && self.cur.frames.iter().skip(1).any(|frame| frame.in_callback && self.aux[frame.callsite].compares)
    }
}
