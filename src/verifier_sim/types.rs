//! The types of a kernel: its BTF, as /sys/kernel/btf/vmlinux holds it (Documentation/bpf/btf.rst).
//!
//! ```text
//! header   magic u16 | version u8 | flags u8 | hdr_len u32 | type_off u32 | type_len u32 | str_off u32 | str_len u32
//! type     name_off u32 | info u32 | size or type u32 | kind-specific data
//! info     kind_flag:1 | 0:2 | kind:5 | 0:8 | vlen:16
//! member   name_off u32 | type u32 | offset u32: bits, or with kind_flag the size of a bit field in the upper 8
//! ```
//! A kernel has more than a hundred thousand types. They stay as they are in the file; only where each begins is kept.

use std::fmt;

use super::state::reg::Flags;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Longest chain of arrays and qualifiers that is followed (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;

/// Kinds of types (`enum` in include/uapi/linux/btf.h).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The types of one kernel.
pub struct KernelTypes {
    data: Vec<u8>,
    /// Where the record of each type begins, by id. Id 0 is void and has none.
    records: Vec<u32>,
    /// Where the strings begin.
    strings: usize,
    /// The structures and unions that have a name, in the order of their names.
    named: Vec<u32>,
    /// The functions that are tagged as ones programs may call; empty where the kernel was built without the tags.
    kfuncs: Vec<u32>,
}

impl fmt::Debug for KernelTypes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KernelTypes({})", self.records.len())
    }
}

impl PartialEq for KernelTypes {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for KernelTypes {}

/// What is at a place in a structure (`enum bpf_struct_walk_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A number, or a part of one.
    Scalar,
    /// A pointer to the structure with this id.
    Pointer {
        /// The structure.
        to: u32,
        /// Its tags, and that it may be another member of a union.
        flags: Flags,
        /// The member, as an offset of its name.
        field: u32,
    },
    /// A pointer to something else.
    Address,
}

/// One step into a structure.
enum Step {
    Ends(Found),
    /// At its start lies this structure.
    Inside(u32),
}

/// A member's type once arrays and qualifiers are looked through.
struct Resolved {
    /// Bytes in all.
    size: u64,
    /// Elements, all dimensions together; `None` if it is no array.
    count: Option<u64>,
    /// What the elements are, or it is.
    kind: u32,
    /// The id that stands for it.
    id: u32,
}

impl KernelTypes {
    /// Reads what /sys/kernel/btf/vmlinux or a file like it holds; `None` if that is no BTF of a little-endian kernel.
    pub fn parse(data: Vec<u8>) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?));
        if u16::from_le_bytes(*data.first_chunk()?) != MAGIC {
            return None;
        }
        let header = word(4)? as usize;
        let begin = header.checked_add(word(8)? as usize)?;
        let end = begin.checked_add(word(12)? as usize)?;
        let strings = header.checked_add(word(16)? as usize)?;
        let mut records = vec![0];
        let mut at = begin;
        while at < end {
            records.push(u32::try_from(at).ok()?);
            let info = word(at + 4)?;
            let count = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
                    kind::ENUM | kind::FUNC_PROTO => count * 8,
                    _ => 0,
                };
        }
        let mut types = Self { data, records, strings, named: Vec::new(), kfuncs: Vec::new() };
        let tags = (1..types.records.len() as u32).filter(|id| types.kind(*id) == kind::DECL_TAG);
        types.kfuncs = tags.filter(|id| types.name(*id) == b"bpf_kfunc").map(|id| types.field(id, 2)).collect();
        let structures =
            (1..types.records.len() as u32).filter(|id| types.is_struct(*id) && !types.name(*id).is_empty());
        let mut named: Vec<u32> = structures.collect();
        named.sort_by(|a, b| types.name(*a).cmp(types.name(*b)));
        types.named = named;
        Some(types)
    }

    fn word(&self, at: usize) -> u32 {
        self.data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Word `index` of a type's record; 0 if there is no such type.
    fn field(&self, id: u32, index: usize) -> u32 {
        match self.records.get(id as usize) {
            Some(&at) if id != 0 => self.word(at as usize + index * 4),
            _ => 0,
        }
    }

    fn kind(&self, id: u32) -> u32 {
        self.field(id, 1) >> 24 & 0x1f
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.strings.checked_add(offset as usize).and_then(|at| self.data.get(at..)).unwrap_or(&[]);
        rest.split(|byte| *byte == 0).next().unwrap_or(&[])
    }

    /// The type's name; empty if it has none.
    pub(super) fn name(&self, id: u32) -> &[u8] {
        self.string(self.field(id, 0))
    }

    /// Whether there is a type with this id; void is one.
    pub(super) fn exists(&self, id: u64) -> bool {
        id < self.records.len() as u64
    }

    /// Whether it is a structure or union.
    pub(super) fn is_struct(&self, id: u32) -> bool {
        matches!(self.kind(id), kind::STRUCT | kind::UNION)
    }

    /// Whether it is a function.
    pub(super) fn is_function(&self, id: u32) -> bool {
        self.kind(id) == kind::FUNC
    }

    /// Whether programs of some type may call the function; where the kernel does not say so, whether they might.
    pub(super) fn may_be_kfunc(&self, id: u32) -> bool {
        if self.kfuncs.is_empty() { self.name(id).starts_with(b"bpf_") } else { self.kfuncs.contains(&id) }
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
                kind::TYPEDEF..=kind::RESTRICT | kind::TYPE_TAG => id = self.field(id, 2),
                _ => break,
            }
        }
        id
    }

    /// Looks through arrays and qualifiers (`__btf_resolve_size`).
    fn resolve(&self, id: u32) -> Option<Resolved> {
        let mut at = id;
        let mut last = id;
        let mut count: Option<u64> = None;
        let mut element = None;
        for _ in 0..MAX_DEPTH {
            let kind = self.kind(at);
            let size = match kind {
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::FLOAT | kind::ENUM64 => self.field(at, 2),
                kind::PTR => 8,
                kind::TYPEDEF..=kind::RESTRICT | kind::TYPE_TAG => {
                    at = self.field(at, 2);
                    last = at;
                    continue;
                }
                kind::ARRAY => {
                    count = Some(count.unwrap_or(1).checked_mul(u64::from(self.field(at, 5)))?);
                    at = self.field(at, 3);
                    element = Some(at);
                    continue;
                }
                _ => return None,
            };
            let size = count.unwrap_or(1).checked_mul(u64::from(size)).filter(|size| *size <= u64::from(u32::MAX))?;
            return Some(Resolved { size, count, kind, id: element.unwrap_or(last) });
        }
        None
    }

    /// What a load of `size` bytes at `off` of a structure finds (`btf_struct_access`).
    pub(super) fn find(&self, id: u32, off: u32, size: u32) -> Result<Found, String> {
        let (mut id, mut off) = (id, off);
        let mut flags = Flags::empty();
        loop {
            match self.step(id, u64::from(off), u64::from(size), &mut flags)? {
                Step::Ends(found) => return Ok(found),
                Step::Inside(next) => (id, off) = (next, 0),
            }
        }
    }

    /// Whether a structure of type `wanted` is at `off` of a structure (`btf_struct_ids_match`).
    pub(super) fn contains(&self, id: u32, off: u32, wanted: u32) -> bool {
        if off == 0 && id == wanted {
            return true;
        }
        let (mut id, mut off) = (id, off);
        loop {
            match self.step(id, u64::from(off), 1, &mut Flags::empty()) {
                Ok(Step::Inside(next)) if next == wanted => return true,
                Ok(Step::Inside(next)) => (id, off) = (next, 0),
                _ => return false,
            }
        }
    }

    /// `btf_struct_walk`.
    fn step(&self, id: u32, off: u64, size: u64, flags: &mut Flags) -> Result<Step, String> {
        let (mut id, mut off) = (self.skip(id), off);
        'structure: loop {
            let name = || String::from_utf8_lossy(self.name(id)).into_owned();
            if !self.is_struct(id) {
                return Err(format!("Type '{}' is not a struct", name()));
            }
            let (info, bytes) = (self.field(id, 1), u64::from(self.field(id, 2)));
            let members = info as usize & 0xffff;
            let has_bit_fields = info >> 31 != 0;
            let member = |index: usize| {
                let word = |part| self.field(id, 3 + index * 3 + part);
                let place = word(2);
                let (bit, width) = if has_bit_fields { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
                (word(0), word(1), u64::from(bit), u64::from(width))
            };
            if self.kind(id) == kind::UNION && members != 1 {
                *flags |= Flags::UNTRUSTED;
            }
            if off + size > bytes {
                let beyond = || format!("access beyond struct {} at off {off} size {size}", name());
                let Some(last) = members.checked_sub(1) else { return Err(beyond()) };
                let (_, of, bit, _) = member(last);
                let array = self.skip(of);
                // What follows a structure that ends in an array of no fixed length.
                if self.kind(array) != kind::ARRAY || self.field(array, 5) != 0 || off < bit / 8 {
                    return Err(beyond());
                }
                let element = self.skip(self.field(array, 3));
                if self.kind(element) == kind::INT {
                    return Ok(Step::Ends(Found::Scalar));
                }
                let step = u64::from(self.field(element, 2));
                if !self.is_struct(element) || step == 0 {
                    return Err(beyond());
                }
                (id, off) = (element, (off - bit / 8) % step);
                continue 'structure;
            }
            for index in 0..members {
                let (field, of, bit, width) = member(index);
                let begin = bit / 8;
                if off + size <= begin {
                    break;
                }
                if width != 0 {
                    if off <= begin && (bit + width).div_ceil(8) <= off + size {
                        return Ok(Step::Ends(Found::Scalar));
                    }
                    continue;
                }
                if off < begin {
                    break;
                }
                let Some(mut inner) = self.resolve(of) else {
                    return Err(format!("field {} doesn't have size", String::from_utf8_lossy(self.string(field))));
                };
                let end = begin + inner.size;
                let mut begin = begin;
                if off >= end {
                    continue;
                }
                if let Some(count) = inner.count.filter(|count| *count != 0) {
                    inner.size /= count;
                    begin += (off - begin) / inner.size.max(1) * inner.size;
                }
                if matches!(inner.kind, kind::STRUCT | kind::UNION) {
                    if off == begin {
                        return Ok(Step::Inside(inner.id));
                    }
                    (id, off) = (self.skip(inner.id), off - begin);
                    continue 'structure;
                }
                if inner.kind == kind::PTR {
                    if inner.size != size || off != begin {
                        let field = String::from_utf8_lossy(self.string(field)).into_owned();
                        let name = name();
                        return Err(format!(
                            "cannot access ptr member {field} with moff {begin} in struct {name} with off {off} size {size}"
                        ));
                    }
                    return Ok(Step::Ends(self.pointer(self.skip(inner.id), field, *flags)));
                }
                if off + size > end && !flags.contains(Flags::UNTRUSTED) {
                    let field = String::from_utf8_lossy(self.string(field)).into_owned();
                    return Err(format!("access beyond the end of member {field} (mend:{end}) in struct {}", name()));
                }
                return Ok(Step::Ends(Found::Scalar));
            }
            return Err(format!("struct {} doesn't have field at offset {off}", name()));
        }
    }

    /// What the pointer type `id`, of a member, points to.
    fn pointer(&self, id: u32, field: u32, flags: Flags) -> Found {
        let first = self.field(id, 2);
        let to = self.skip(first);
        if !self.is_struct(to) {
            return Found::Address;
        }
        let tag = if self.kind(first) == kind::TYPE_TAG { self.name(first) } else { &[] };
        let tag = match tag {
            b"user" => Flags::USER,
            b"percpu" => Flags::PERCPU,
            b"rcu" => Flags::RCU,
            _ => Flags::empty(),
        };
        Found::Pointer { to, flags: flags | tag, field }
    }

    /// Whether the kernel lists the member as one that keeps its parent's state of trust: in a structure named like the
    /// parent with a suffix (`btf_nested_type_is_trusted`).
    pub(super) fn is_listed(&self, parent: u32, suffix: &str, field: u32, to: u32) -> bool {
        let name = [self.name(parent), suffix.as_bytes()].concat();
        let Some(list) = self.named(&name).filter(|list| self.kind(*list) == self.kind(parent)) else { return false };
        (0..self.field(list, 1) as usize & 0xffff).any(|index| {
            let of = self.field(list, 4 + index * 3);
            self.kind(of) == kind::PTR
                && self.skip(self.field(of, 2)) == to
                && self.string(self.field(list, 3 + index * 3)) == self.string(field)
        })
    }
}
