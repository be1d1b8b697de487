//! What is at a place in a structure (`btf_struct_walk`).

use crate::btf::{Kind, Member};
use crate::verifier_sim::state::reg::Flags;
use crate::verifier_sim::types::{KernelTypes, MAX_DEPTH, MAX_MEMBERS, take_one};

/// What is at a place in a structure (`enum bpf_struct_walk_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Found {
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
    /// Elements, all dimensions together; `None` if it is not an array.
    count: Option<u64>,
    /// What the elements are, or it is.
    kind: Kind,
    /// The id that stands for it.
    id: u32,
}

impl KernelTypes {
    /// Looks through arrays and qualifiers (`__btf_resolve_size`).
    fn resolve(&self, id: u32) -> Option<Resolved> {
        let mut at = id;
        let mut last = id;
        let mut count: Option<u64> = None;
        let mut element = None;
        for _ in 0..MAX_DEPTH {
            let head = self.btf.head(at)?;
            let kind = head.kind;
            let size = match kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Float | Kind::Enum64 => head.size_or_type,
                Kind::Ptr => 8,
                kind if kind.is_modifier() => {
                    at = head.size_or_type;
                    last = at;
                    continue;
                }
                Kind::Array => {
                    let array = self.btf.array(head)?;
                    count = Some(count.unwrap_or(1).checked_mul(u64::from(array.count))?);
                    at = array.element;
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
    pub(in crate::verifier_sim) fn find(&self, id: u32, off: u32, size: u32) -> Result<Found, String> {
        let (mut id, mut off) = (id, off);
        let mut flags = Flags::empty();
        let mut left = MAX_MEMBERS;
        loop {
            match self.step(id, u64::from(off), u64::from(size), &mut flags, &mut left)? {
                Step::Ends(found) => return Ok(found),
                Step::Inside(next) => (id, off) = (next, 0),
            }
        }
    }

    /// Whether a structure of type `wanted` is at `off` of a structure (`btf_struct_ids_match`).
    pub(in crate::verifier_sim) fn contains(&self, id: u32, off: u32, wanted: u32) -> bool {
        if off == 0 && id == wanted {
            return true;
        }
        let (mut id, mut off) = (id, off);
        let mut left = MAX_MEMBERS;
        loop {
            match self.step(id, u64::from(off), 1, &mut Flags::empty(), &mut left) {
                Ok(Step::Inside(next)) if next == wanted => return true,
                Ok(Step::Inside(next)) => (id, off) = (next, 0),
                _ => return false,
            }
        }
    }

    /// `btf_struct_walk`, which looks at as many members as are `left`.
    fn step(&self, id: u32, off: u64, size: u64, flags: &mut Flags, left: &mut u32) -> Result<Step, String> {
        let (mut id, mut off) = (self.skip(id), off);
        'structure: loop {
            let name = || match self.name(id) {
                b"" => "(anon)".to_owned(),
                name => String::from_utf8_lossy(name).into_owned(),
            };
            let Some(head) = self.structure(id) else { return Err(format!("Type '{}' is not a struct", name())) };
            let bytes = u64::from(head.size_or_type);
            if head.kind == Kind::Union && head.parts != 1 {
                *flags |= Flags::UNTRUSTED;
            }
            if off + size > bytes {
                let beyond = || format!("access beyond struct {} at off {off} size {size}", name());
                let Some(Member { type_id, bit_offset, .. }) = self.btf.members(head).next_back() else {
                    return Err(beyond());
                };
                let bit = u64::from(bit_offset);
                let array = self.btf.head(self.skip(type_id)).and_then(|last| self.btf.array(last));
                // What follows a structure that ends in an array of no fixed length.
                let Some(array) = array.filter(|array| array.count == 0 && off >= bit / 8) else {
                    return Err(beyond());
                };
                let element = self.skip(array.element);
                if self.kind(element) == Some(Kind::Int) {
                    return Ok(Step::Ends(Found::Scalar));
                }
                let step = u64::from(self.target(element));
                if !self.is_struct(element) || step == 0 {
                    return Err(beyond());
                }
                // It may be the same structure, and the same place in it.
                if !take_one(left) {
                    return Err(beyond());
                }
                (id, off) = (element, (off - bit / 8) % step);
                continue 'structure;
            }
            for Member { name: field, type_id: of, bit_offset, bits, .. } in self.btf.members(head) {
                if !take_one(left) {
                    return Err(format!("struct {} has too many members", name()));
                }
                let (bit, width) = (u64::from(bit_offset), u64::from(bits));
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
                if matches!(inner.kind, Kind::Struct | Kind::Union) {
                    if off == begin {
                        return Ok(Step::Inside(inner.id));
                    }
                    (id, off) = (self.skip(inner.id), off - begin);
                    continue 'structure;
                }
                if inner.kind == Kind::Ptr {
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
                    return Err(format!(
                        "access beyond the end of member {field} (mend:{end}) in struct {} with off {off} size {size}",
                        name()
                    ));
                }
                return Ok(Step::Ends(Found::Scalar));
            }
            return Err(format!("struct {} doesn't have field at offset {off}", name()));
        }
    }

    /// What the pointer type `id`, of a member, points to.
    fn pointer(&self, id: u32, field: u32, flags: Flags) -> Found {
        let first = self.target(id);
        let to = self.skip(first);
        if !self.is_struct(to) {
            return Found::Address;
        }
        let tag = if self.kind(first) == Some(Kind::TypeTag) { self.name(first) } else { &[] };
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
    pub(in crate::verifier_sim) fn is_listed(&self, parent: u32, suffix: &str, field: u32, to: u32) -> bool {
        let name = [self.name(parent), suffix.as_bytes()].concat();
        let Some(list) = self.named(&name).filter(|list| self.kind(*list) == self.kind(parent)) else { return false };
        let Some(head) = self.structure(list) else { return false };
        self.btf.members(head).any(|member| {
            self.kind(member.type_id) == Some(Kind::Ptr)
                && self.skip(self.target(member.type_id)) == to
                && self.string(member.name) == self.string(field)
        })
    }
}
