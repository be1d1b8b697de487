//! The maps of a program as the verifier sees them: sizes, special fields, what programs may do.

use crate::verifier_sim::program::record::{Field, FieldKind, Meanings, Record};
use crate::verifier_sim::spec::{MapSpec, MapType};
use crate::verifier_sim::types::fields::may_be_in;

/// `BPF_F_WRONLY_PROG`: programs may not read.
const WRONLY_PROG: u32 = 1 << 8;

/// `BPF_F_INNER_MAP`: inner arrays of other sizes may take this one's place.
const INNER_MAP: u32 = 1 << 12;

/// One map, with its special fields looked up.
#[derive(Debug)]
pub(in crate::verifier_sim) struct Map<'a> {
    /// What was asked for.
    pub(in crate::verifier_sim) spec: &'a MapSpec,
    /// Number of the map that stands for its inner maps, when it is a map of maps.
    pub(in crate::verifier_sim) inner: Option<u32>,
    /// Special fields of the value.
    pub(in crate::verifier_sim) record: Record,
    /// Whether the kernel makes no such map with its types, so that it has been made without.
    pub(in crate::verifier_sim) is_untyped: bool,
}

impl Map<'_> {
    /// The map's type.
    pub(in crate::verifier_sim) fn kind(&self) -> MapType {
        self.spec.map_type
    }

    /// The one field of this kind, if the value has it.
    pub(in crate::verifier_sim) fn field(&self, kind: FieldKind) -> Option<Field> {
        self.record.field(kind)
    }

    /// Whether BTF describes the values.
    pub(in crate::verifier_sim) fn is_typed(&self) -> bool {
        !self.is_untyped && (self.spec.typed || !self.spec.special.is_empty())
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
        self.spec.map_flags & MapSpec::RDONLY_PROG == 0 && !of_devices
    }

    /// Whether programs may not write and user space no longer can (`bpf_map_is_rdonly`).
    pub(in crate::verifier_sim) fn is_constant(&self) -> bool {
        self.spec.map_flags & MapSpec::RDONLY_PROG != 0 && self.spec.frozen
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

/// Whether the kernel makes a map with these special fields, if there are any.
fn may_have_fields(spec: &MapSpec) -> bool {
    let fit = spec.special.iter().all(|field| may_be_in(spec.map_type, &field.name));
    spec.special.is_empty() || (fit && spec.map_flags & (MapSpec::RDONLY_PROG | WRONLY_PROG) == 0)
}

/// The maps of a program: those it names, in order, then the templates of inner maps.
pub(in crate::verifier_sim) fn collect<'a>(specs: &'a [MapSpec], meanings: Meanings<'_>) -> Vec<Map<'a>> {
    let one = |spec: &'a MapSpec| {
        let found = meanings.record(&spec.special);
        // The kernel does not look for faults of a map whose fields it does not understand (`map_check_btf`).
        let is_untyped = found.is_some() && !may_have_fields(spec);
        let record = found.filter(|_| !is_untyped).unwrap_or_default();
        Map { spec, inner: None, record, is_untyped }
    };
    let mut maps: Vec<Map<'a>> = specs.iter().map(one).collect();
    for index in 0..specs.len() {
        if let Some(inner) = specs[index].inner.as_deref() {
            maps[index].inner = Some(maps.len() as u32);
            maps.push(one(inner));
        }
    }
    maps
}
