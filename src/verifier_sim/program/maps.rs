//! The maps of a program as the verifier sees them: sizes, special fields, what programs may do.

use crate::verifier_sim::spec::{MapSpec, MapType};

/// `BPF_F_RDONLY_PROG` (include/uapi/linux/bpf.h): programs may not write.
const RDONLY_PROG: u32 = 1 << 7;
/// `BPF_F_WRONLY_PROG`: programs may not read.
const WRONLY_PROG: u32 = 1 << 8;

/// `BPF_F_INNER_MAP`: inner arrays of other sizes may take this one's place.
const INNER_MAP: u32 = 1 << 12;

/// A field of a map value that the kernel manages (`enum btf_field_type`).
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
    /// Anything else: a pointer into the kernel or a field that is not known here.
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
}

impl FieldKind {
    /// The kind with this BTF name, and its size (include/uapi/linux/bpf.h).
    fn from_name(name: &str) -> (Self, u32) {
        match name.strip_prefix("bpf_").unwrap_or(name) {
            "spin_lock" => (Self::SpinLock, 4),
            "timer" => (Self::Timer, 16),
            "wq" => (Self::Workqueue, 16),
            "list_head" => (Self::ListHead, 16),
            "rb_root" => (Self::RbRoot, 16),
            "list_node" => (Self::ListNode, 24),
            "rb_node" => (Self::RbNode, 32),
            "refcount" => (Self::Refcount, 4),
            "res_spin_lock" => (Self::ResSpinLock, 4),
            "task_work" => (Self::TaskWork, 8),
            _ => (Self::Other, 8),
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
            Self::Other => "kptr",
        }
    }
}

/// One map, with its special fields looked up.
#[derive(Debug)]
pub(in crate::verifier_sim) struct Map<'a> {
    /// What was asked for.
    pub(in crate::verifier_sim) spec: &'a MapSpec,
    /// Number of the map that stands for its inner maps, when it is a map of maps.
    pub(in crate::verifier_sim) inner: Option<u32>,
    /// Special fields of the value.
    pub(in crate::verifier_sim) fields: Vec<Field>,
}

impl Map<'_> {
    /// The map's type.
    pub(in crate::verifier_sim) fn kind(&self) -> MapType {
        self.spec.map_type
    }

    /// The one field of this kind, if the value has it.
    pub(in crate::verifier_sim) fn field(&self, kind: FieldKind) -> Option<Field> {
        self.fields.iter().copied().find(|field| field.kind == kind)
    }

    /// Whether values are sockets, so that a lookup acquires a reference.
    pub(in crate::verifier_sim) fn holds_sockets(&self) -> bool {
        matches!(self.kind(), MapType::SOCKMAP | MapType::SOCKHASH)
    }

    /// Whether programs may read values.
    pub(in crate::verifier_sim) fn can_read(&self) -> bool {
        // Neither flag: both. The kernel refuses maps with both flags.
        self.spec.map_flags & WRONLY_PROG == 0
    }

    /// Whether programs may write values.
    pub(in crate::verifier_sim) fn can_write(&self) -> bool {
        // A lookup in a map of devices points to the kernel's own number of the device (`dev_map_alloc_check`).
        let of_devices = matches!(self.kind(), MapType::DEVMAP | MapType::DEVMAP_HASH);
        self.spec.map_flags & RDONLY_PROG == 0 && !of_devices
    }

    /// Whether programs may not write and user space no longer can (`bpf_map_is_rdonly`).
    pub(in crate::verifier_sim) fn is_constant(&self) -> bool {
        self.spec.map_flags & RDONLY_PROG != 0 && self.spec.frozen
    }

    /// Whether a program may hold the address of a value (`map_direct_value_addr`): arrays and arenas.
    pub(in crate::verifier_sim) fn has_direct_values(&self) -> bool {
        matches!(self.kind(), MapType::ARRAY | MapType::ARENA | MapType::INSN_ARRAY)
    }

    /// Whether a lookup with a constant index in range cannot fail (6.14 and later).
    pub(in crate::verifier_sim) fn lookup_by_index(&self) -> bool {
        self.spec.map_flags & INNER_MAP == 0 && matches!(self.kind(), MapType::ARRAY | MapType::PERCPU_ARRAY)
    }

    /// `len` constant bytes at `offset` of the first value; bytes that user space never wrote are zero.
    pub(in crate::verifier_sim) fn constant(&self, offset: usize, len: usize) -> Vec<u8> {
        let data = self.spec.data.as_deref().unwrap_or(&[]);
        (offset..offset.saturating_add(len)).map(|at| data.get(at).copied().unwrap_or(0)).collect()
    }
}

/// The maps of a program: those it names, in order, then the templates of inner maps.
pub(in crate::verifier_sim) fn collect(specs: &[MapSpec]) -> Vec<Map<'_>> {
    let mut maps: Vec<Map<'_>> = specs.iter().map(one).collect();
    for index in 0..specs.len() {
        if let Some(inner) = specs[index].inner.as_deref() {
            maps[index].inner = Some(maps.len() as u32);
            maps.push(one(inner));
        }
    }
    maps
}

fn one(spec: &MapSpec) -> Map<'_> {
    let fields = spec
        .special
        .iter()
        .map(|field| {
            let (kind, size) = FieldKind::from_name(&field.name);
            Field { kind, offset: field.offset, size }
        })
        .collect();
    Map { spec, inner: None, fields }
}
