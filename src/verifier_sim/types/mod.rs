//! The types of a kernel and of a program, and what the verifier asks of them.

pub(super) mod fields;
mod function;
pub(super) mod names;
mod program;
mod walk;

pub(super) use function::{Parameter, Prototype, Value, Variable};
pub use program::ProgramTypes;
pub(super) use walk::Found;

use std::fmt;
use std::sync::OnceLock;

use crate::btf::{Btf, Error, Head, Kind};
use crate::uapi::helper::Object;
use crate::verifier_sim::state::reg::object_from_number;

/// Longest chain of arrays and qualifiers that is followed (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;
/// Most members that one question about a structure looks at. The largest structure of a kernel has a few hundred; in a crafted
/// file a structure can contain itself.
const MAX_MEMBERS: u32 = 4096;

/// The types of one kernel, or of one program.
pub struct KernelTypes {
    btf: Btf,
    /// The structures and unions that have a name, in the order of their names.
    named: Vec<u32>,
    /// The functions that are tagged as ones programs may call, in order; empty where the kernel was built without the tags.
    kfuncs: Vec<u32>,
    /// The variables that each CPU has, in order.
    per_cpu: Vec<u32>,
    /// The functions and variables, in the order of names and kinds. Few programs ask for them.
    symbols: OnceLock<Vec<u32>>,
    /// All types that have a name, by a hash of it. Only what is relocated (CO-RE) asks for them.
    by_hash: OnceLock<Vec<(u32, u32)>>,
}

impl fmt::Debug for KernelTypes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KernelTypes({})", self.btf.type_count())
    }
}

impl PartialEq for KernelTypes {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for KernelTypes {}

/// A register names a structure by a number: those that helpers return have small ones, any other has its id in the kernel's
/// BTF plus this.
const FIRST_OTHER: u32 = 16;
/// In such a number: the rest is the ID of a structure in the program's own BTF.
const OWN: u32 = 1 << 31;

/// The number by which registers name the structure with this ID in the program's own BTF.
pub(super) fn own_number(id: u32) -> u32 {
    id | OWN
}

/// The ID of the structure in the program's own BTF that registers name by this number, if it is such a one.
pub(super) fn own_id(number: u32) -> Option<u32> {
    (number & OWN != 0).then_some(number & !OWN)
}

/// The number by which registers name the structure with this id.
pub(super) fn structure_number(types: &KernelTypes, id: u32) -> u32 {
    let name = types.name(id);
    let known = Object::ALL.into_iter().find(|known| known.name().as_bytes() == name);
    known.map_or(id.saturating_add(FIRST_OTHER), |known| known as u32)
}

/// The id of the structure that registers name by this number.
pub(super) fn structure_id(types: &KernelTypes, number: u32) -> Option<u32> {
    match object_from_number(number) {
        Some(known) => types.named(known.name().as_bytes()),
        None if number & OWN != 0 => None,
        None => number.checked_sub(FIRST_OTHER),
    }
}

/// The section of the variables that each CPU has (`find_btf_percpu_datasec`).
const PER_CPU: &str = ".data..percpu";

/// Structures in structures that are looked into (`__btf_type_is_scalar_struct`).
const MAX_NESTED: u32 = 3;

/// Whether one more member may be looked at.
fn take_one(left: &mut u32) -> bool {
    let more = *left > 0;
    *left = left.saturating_sub(1);
    more
}

impl KernelTypes {
    /// Reads what /sys/kernel/btf/vmlinux or a file like it holds.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        Ok(Self::of(Btf::parse(data)?))
    }

    fn of(btf: Btf) -> Self {
        let mut types = Self {
            btf,
            named: Vec::new(),
            kfuncs: Vec::new(),
            per_cpu: Vec::new(),
            symbols: OnceLock::new(),
            by_hash: OnceLock::new(),
        };
        let ids = 1..=types.btf.type_count();
        let tags = ids.clone().filter_map(|id| types.btf.head(id)).filter(|head| head.kind == Kind::DeclTag);
        types.kfuncs =
            tags.filter(|tag| types.btf.string(tag.name) == b"bpf_kfunc").map(|tag| tag.size_or_type).collect();
        let mut named: Vec<u32> = ids.filter(|id| types.is_struct(*id) && !types.name(*id).is_empty()).collect();
        named.sort_by(|a, b| types.name(*a).cmp(types.name(*b)));
        types.named = named;
        types.kfuncs.sort_unstable();
        let section = types.btf.by_name(Kind::Datasec, PER_CPU).and_then(|section| types.btf.head(section));
        types.per_cpu = section.into_iter().flat_map(|section| types.btf.variables(section)).collect();
        types.per_cpu.sort_unstable();
        types
    }

    /// The byte offset of a field, which a path of names leads to; `None` where there is none, or it is not whole bytes.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u16> {
        let field = self.btf.field(structure, path).ok()?;
        u16::try_from(field.offset()).ok().filter(|_| field.bit_offset % 8 == 0)
    }

    /// The types themselves.
    pub(super) fn btf(&self) -> &Btf {
        &self.btf
    }

    fn kind(&self, id: u32) -> Option<Kind> {
        self.btf.kind(id)
    }

    /// The type that type `id` refers to; void if it refers to none.
    fn target(&self, id: u32) -> u32 {
        self.btf.head(id).map_or(0, |head| head.size_or_type)
    }

    fn string(&self, offset: u32) -> &[u8] {
        self.btf.string(offset)
    }

    /// The type's name; empty if it has none.
    pub(super) fn name(&self, id: u32) -> &[u8] {
        self.btf.head(id).map_or(&[], |head| self.string(head.name))
    }

    /// Whether the type with this id is a union.
    pub(super) fn is_union(&self, id: u32) -> bool {
        self.btf.kind(id) == Some(Kind::Union)
    }

    /// Whether there is a type with this id; void is one.
    pub(super) fn exists(&self, id: u64) -> bool {
        id <= u64::from(self.btf.type_count())
    }

    /// Whether it is a structure or union.
    pub(super) fn is_struct(&self, id: u32) -> bool {
        self.btf.head(id).is_some_and(Head::is_composite)
    }

    /// Whether it is a function.
    pub(super) fn is_function(&self, id: u32) -> bool {
        self.kind(id) == Some(Kind::Func)
    }

    /// Whether it is the type of a function.
    pub(super) fn is_prototype(&self, id: u32) -> bool {
        self.kind(id) == Some(Kind::FuncProto)
    }

    /// Whether values of this type are numbers (`btf_type_is_scalar`).
    pub(super) fn is_number(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::Int | Kind::Enum))
    }

    /// Whether it is a structure of numbers alone, nested not too deeply (`__btf_type_is_scalar_struct`).
    pub(super) fn is_numbers(&self, id: u32) -> bool {
        self.holds_numbers(id, 0, &mut MAX_MEMBERS.clone())
    }

    fn holds_numbers(&self, id: u32, depth: u32, left: &mut u32) -> bool {
        let Some(head) = self.structure(id) else { return false };
        self.btf.members(head).all(|member| {
            if !take_one(left) {
                return false;
            }
            let of = self.skip(member.type_id);
            match self.btf.head(of).and_then(|head| self.btf.array(head)) {
                Some(array) => array.count != 0 && self.is_number(self.skip(array.element)),
                None if self.is_struct(of) => depth < MAX_NESTED && self.holds_numbers(of, depth + 1, left),
                None => self.is_number(of),
            }
        })
    }

    /// The type as the verifier names it: its kind, and its name.
    pub(super) fn describe(&self, id: u32) -> String {
        let kind = match self.kind(id) {
            Some(Kind::Struct) => "STRUCT",
            Some(Kind::Union) => "UNION",
            Some(Kind::Ptr) => "PTR",
            Some(Kind::Fwd) => "FWD",
            Some(Kind::Func) => "FUNC",
            Some(Kind::FuncProto) => "FUNC_PROTO",
            None => "UNKNOWN",
            _ => "type",
        };
        format!("{kind} {}", String::from_utf8_lossy(self.name(id)))
    }

    /// Bytes of a value of this type; `None` for void and what has none.
    pub(super) fn size(&self, id: u32) -> Option<u32> {
        self.btf.size_of(id)
    }

    /// Whether the name at this offset ends so.
    pub(super) fn string_ends_with(&self, offset: u32, end: &[u8]) -> bool {
        self.string(offset).ends_with(end)
    }

    /// The structure or union with this name.
    pub(super) fn named(&self, name: &[u8]) -> Option<u32> {
        let at = self.named.partition_point(|id| self.name(*id) < name);
        self.named.get(at).copied().filter(|id| self.name(*id) == name)
    }

    /// The type without typedefs, qualifiers and tags.
    fn skip(&self, id: u32) -> u32 {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.kind(id) {
                Some(kind) if kind.is_modifier() => id = self.target(id),
                _ => break,
            }
        }
        id
    }

    /// The head of a structure or union.
    fn structure(&self, id: u32) -> Option<Head> {
        self.btf.head(id).filter(|head| head.is_composite())
    }
}
