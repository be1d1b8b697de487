//! The special fields of a map value or an allocated object, as the verifier sees them (`struct btf_record`).

use std::collections::BTreeMap;

use crate::verifier_sim::types::fields::{SpecialField, size_of};
use crate::verifier_sim::types::{KernelTypes, ProgramTypes, own_number, structure_number};

/// A field that the kernel manages (`enum btf_field_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum FieldKind {
    /// `struct bpf_spin_lock`, 4 bytes.
    SpinLock,
    /// `struct bpf_timer`, 16 bytes.
    Timer,
    /// `struct bpf_wq`, 16 bytes.
    Workqueue,
    /// `struct bpf_list_head`, 16 bytes.
    ListHead,
    /// `struct bpf_rb_root`, 16 bytes.
    RbRoot,
    /// `struct bpf_list_node`, 24 bytes.
    ListNode,
    /// `struct bpf_rb_node`, 32 bytes.
    RbNode,
    /// `struct bpf_refcount`, 4 bytes.
    Refcount,
    /// `struct bpf_res_spin_lock`, 4 bytes (6.15).
    ResSpinLock,
    /// `struct bpf_task_work`, 8 bytes (6.18).
    TaskWork,
    /// A pointer into the kernel without a reference.
    Pointer,
    /// One with a reference, which only `bpf_kptr_xchg` puts there.
    OwnedPointer,
    /// The same to memory that each CPU has.
    PerCpuPointer,
    /// Anything else: a field that is not known here, or a pointer without types that say to what.
    Other,
}

/// One special field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Field {
    /// What it is.
    pub(in crate::verifier_sim) kind: FieldKind,
    /// Where it begins in the value.
    pub(in crate::verifier_sim) offset: u32,
    /// Its bytes.
    pub(in crate::verifier_sim) size: u32,
    /// What a pointer points to, or the elements are: a structure by the number by which registers name it.
    pub(in crate::verifier_sim) structure: u32,
    /// Where in an element its node is.
    pub(in crate::verifier_sim) node: u32,
}

impl FieldKind {
    /// The kind with this BTF name.
    fn from_name(name: &str) -> Self {
        match name.strip_prefix("bpf_").unwrap_or(name) {
            "spin_lock" => Self::SpinLock,
            "timer" => Self::Timer,
            "wq" => Self::Workqueue,
            "list_head" => Self::ListHead,
            "rb_root" => Self::RbRoot,
            "list_node" => Self::ListNode,
            "rb_node" => Self::RbNode,
            "refcount" => Self::Refcount,
            "res_spin_lock" => Self::ResSpinLock,
            "task_work" => Self::TaskWork,
            "kptr_untrusted" => Self::Pointer,
            "kptr" => Self::OwnedPointer,
            "percpu_kptr" => Self::PerCpuPointer,
            _ => Self::Other,
        }
    }

    /// The name in the kernel's messages.
    pub(in crate::verifier_sim) fn name(self) -> &'static str {
        match self {
            Self::SpinLock => "bpf_spin_lock",
            Self::Timer => "bpf_timer",
            Self::Workqueue => "bpf_wq",
            Self::ListHead => "bpf_list_head",
            Self::RbRoot => "bpf_rb_root",
            Self::ListNode => "bpf_list_node",
            Self::RbNode => "bpf_rb_node",
            Self::Refcount => "bpf_refcount",
            Self::ResSpinLock => "bpf_res_spin_lock",
            Self::TaskWork => "bpf_task_work",
            Self::Pointer | Self::OwnedPointer | Self::Other => "kptr",
            Self::PerCpuPointer => "percpu_kptr",
        }
    }

    /// Whether it is a pointer into the kernel.
    pub(in crate::verifier_sim) fn is_pointer(self) -> bool {
        matches!(self, Self::Pointer | Self::OwnedPointer | Self::PerCpuPointer)
    }
}

/// The special fields of a value, in order.
#[derive(Clone, Debug, Default)]
pub(in crate::verifier_sim) struct Record {
    pub(in crate::verifier_sim) fields: Vec<Field>,
}

impl Record {
    /// The first field of this kind.
    pub(in crate::verifier_sim) fn field(&self, kind: FieldKind) -> Option<Field> {
        self.fields.iter().copied().find(|field| field.kind == kind)
    }

    /// The field at this place, if it is one of those `wanted`.
    pub(in crate::verifier_sim) fn at(&self, offset: i64, wanted: impl Fn(FieldKind) -> bool) -> Option<Field> {
        self.fields.iter().copied().find(|field| i64::from(field.offset) == offset && wanted(field.kind))
    }

    /// Whether its objects are elements of lists or trees.
    pub(in crate::verifier_sim) fn is_element(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.kind, FieldKind::ListNode | FieldKind::RbNode))
    }

    /// The first field that an access to bytes from `begin` up to `end` touches.
    pub(in crate::verifier_sim) fn touched(&self, begin: i64, end: u64) -> impl Iterator<Item = Field> {
        let touches = move |field: &Field| {
            begin < i64::from(field.offset) + i64::from(field.size) && u64::from(field.offset) < end
        };
        self.fields.iter().copied().filter(touches)
    }
}

/// The structures that a map may own, and the functions by which the kernel gives them up, if it was built with them
/// (`register_btf_id_dtor_kfuncs`): those of Linux 6.12, and `sk_buff` of 6.16.
const OWNED: [(&str, &str); 7] = [
    ("task_struct", "bpf_task_release_dtor"),
    ("cgroup", "bpf_cgroup_release_dtor"),
    ("bpf_cpumask", "bpf_cpumask_release_dtor"),
    ("bpf_crypto_ctx", "bpf_crypto_ctx_release_dtor"),
    ("prog_test_ref_kfunc", "bpf_kfunc_call_test_release_dtor"),
    ("prog_test_member", "bpf_kfunc_call_memb_release_dtor"),
    ("sk_buff", "bpf_kfree_skb_dtor"),
];

/// The types that say what fields refer to.
#[derive(Clone, Copy, Default)]
pub(in crate::verifier_sim) struct Meanings<'a> {
    pub(in crate::verifier_sim) kernel: Option<&'a KernelTypes>,
    pub(in crate::verifier_sim) own: Option<&'a ProgramTypes>,
}

impl Meanings<'_> {
    /// The records of the objects that the program can allocate, by the IDs of their structures; `None` if the kernel refuses one
    /// of them, and with it the program's types.
    pub(in crate::verifier_sim) fn objects(self) -> Option<BTreeMap<u32, Record>> {
        let Some(own) = self.own else { return Some(BTreeMap::new()) };
        let record = |(id, fields): (&u32, &Vec<SpecialField>)| Some((*id, self.record(fields)?));
        own.objects()?.iter().map(record).collect()
    }

    /// The record that the kernel makes of these fields; `None` if it refuses one of them. It makes a map of such values nevertheless,
    /// with types and without fields.
    pub(in crate::verifier_sim) fn record(self, fields: &[SpecialField]) -> Option<Record> {
        let fields = fields.iter().map(|field| self.field(field)).collect::<Option<Vec<_>>>()?;
        Some(Record { fields })
    }

    fn field(self, field: &SpecialField) -> Option<Field> {
        let mut kind = FieldKind::from_name(&field.name);
        let mut structure = own_number(field.structure);
        if kind.is_pointer() {
            match self.pointee(field.structure) {
                Some((number, name)) => {
                    if own_number(field.structure) != number {
                        if kind == FieldKind::OwnedPointer && !self.may_own(name) {
                            return None;
                        }
                        if kind == FieldKind::PerCpuPointer {
                            kind = FieldKind::Other;
                        }
                    }
                    structure = number;
                }
                None => kind = FieldKind::Other,
            }
        }
        Some(Field { kind, offset: field.offset, size: size_of(&field.name), structure, node: field.node })
    }

    fn may_own(&self, name: &[u8]) -> bool {
        let found = OWNED.iter().find(|(owned, _)| owned.as_bytes() == name);
        found.zip(self.kernel).is_some_and(|((_, function), kernel)| kernel.function_id(function).is_some())
    }

    /// What a pointer of the program points to: the kernel's structure with this name, or its own (`btf_parse_kptr`).
    fn pointee(&self, id: u32) -> Option<(u32, &[u8])> {
        let name = self.own?.types().name(id);
        let kernel = self.kernel?;
        let known = kernel.named(name).filter(|id| !kernel.is_union(*id));
        Some((known.map_or(own_number(id), |id| structure_number(kernel, id)), name))
    }
}
