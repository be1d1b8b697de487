//! Fields of map values and allocated objects that the kernel manages itself (`btf_parse_fields`).

use crate::btf::{Btf, Head, Kind};
use crate::uapi::MapType;

/// A field of a map value or of an allocated object that the kernel manages itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialField {
    /// The BTF type's name: `bpf_spin_lock`, `bpf_timer`, `bpf_list_head`, ...; of a pointer the tag that makes it a kernel
    /// pointer: `kptr`, `kptr_untrusted`, `percpu_kptr`.
    pub name: String,
    /// Byte offset in the value.
    pub offset: u32,
    /// The ID, in the program's own BTF, of the structure that a kernel pointer points to, or of the elements of a list or tree;
    /// 0 if there is none.
    pub structure: u32,
    /// Where in such an element the node is by which it is linked.
    pub node: u32,
}

/// Most special fields of one value (`BTF_FIELDS_MAX`).
const MAX_FIELDS: usize = 11;
/// Deepest nesting of structures and of arrays that is looked into (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;

/// Where values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Holder {
    Map,
    /// Memory that a program allocates.
    Object,
}

/// Why there is no list of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Problem {
    /// The kernel finds the fields faulty.
    Refused,
    /// There are more members than anything real has.
    TooLarge,
}

/// A structure that the kernel manages.
struct Known {
    name: &'static str,
    /// include/uapi/linux/bpf.h.
    size: u32,
    align: u32,
    /// A value has at most one.
    once: bool,
    in_maps: bool,
    in_objects: bool,
}

const fn known(name: &'static str, (size, align): (u32, u32), once: bool, in_maps: bool, in_objects: bool) -> Known {
    Known { name, size, align, once, in_maps, in_objects }
}

const KNOWN: [Known; 10] = [
    known("bpf_spin_lock", (4, 4), true, true, true),
    known("bpf_res_spin_lock", (4, 4), true, true, true),
    known("bpf_timer", (16, 8), true, true, false),
    known("bpf_wq", (16, 8), true, true, false),
    known("bpf_task_work", (8, 8), true, true, false),
    known(LIST, (16, 8), false, true, true),
    known("bpf_list_node", (24, 8), false, false, true),
    known(TREE, (16, 8), false, true, true),
    known("bpf_rb_node", (32, 8), false, false, true),
    known("bpf_refcount", (4, 4), true, true, true),
];

const LIST: &str = "bpf_list_head";
const TREE: &str = "bpf_rb_root";
/// The tag of a list or tree that says of what elements it is: `contains:STRUCTURE:MEMBER`.
const CONTAINS: &str = "contains:";
/// The tags of pointers that the kernel keeps.
const POINTERS: [&[u8]; 3] = [b"kptr_untrusted", b"kptr", b"percpu_kptr"];
/// Bytes of a pointer, and its alignment.
const POINTER: u32 = 8;

/// The field with this name, with or without `bpf_`, unless it is a pointer.
fn by_name(name: &str) -> Option<&'static Known> {
    let short = |name| str::strip_prefix(name, "bpf_").unwrap_or(name);
    KNOWN.iter().find(|known| short(known.name) == short(name))
}

/// The bytes of the field with this name; those of a pointer if it is another one.
pub(in crate::verifier_sim) fn size_of(name: &str) -> u32 {
    by_name(name).map_or(POINTER, |known| known.size)
}

/// Whether a map of this type may have a field with this name (`map_check_btf`).
pub(in crate::verifier_sim) fn may_be_in(kind: MapType, name: &str) -> bool {
    let plain = [MapType::HASH, MapType::ARRAY];
    let stores = [MapType::SK_STORAGE, MapType::INODE_STORAGE, MapType::TASK_STORAGE, MapType::CGRP_STORAGE];
    match by_name(name).map_or(name, |known| known.name) {
        "bpf_spin_lock" => plain.contains(&kind) || stores.contains(&kind) || kind == MapType::CGROUP_STORAGE,
        "bpf_res_spin_lock" | "bpf_timer" | "bpf_wq" | "bpf_task_work" | LIST | TREE => {
            plain.contains(&kind) || kind == MapType::LRU_HASH
        }
        _ => {
            let more = [MapType::LRU_HASH, MapType::PERCPU_HASH, MapType::LRU_PERCPU_HASH, MapType::PERCPU_ARRAY];
            plain.contains(&kind) || stores.contains(&kind) || more.contains(&kind)
        }
    }
}

/// Whether the field may stand in an array.
fn repeats(field: &SpecialField) -> bool {
    POINTERS.contains(&field.name.as_bytes()) || [LIST, TREE].contains(&&*field.name)
}

/// Looks for fields in one value.
pub(in crate::verifier_sim) struct Search<'a> {
    btf: &'a Btf,
    holder: Holder,
    /// Members that may still be looked at.
    visits: &'a mut u32,
    /// Those of which there may be one, as bits.
    seen: u16,
}

type Found<T = ()> = Result<T, Problem>;

impl<'a> Search<'a> {
    pub(in crate::verifier_sim) fn new(btf: &'a Btf, holder: Holder, visits: &'a mut u32) -> Self {
        Self { btf, holder, visits, seen: 0 }
    }

    /// The fields of the structure `id`.
    pub(in crate::verifier_sim) fn structure(mut self, id: u32) -> Found<Vec<SpecialField>> {
        let Some(head) = self.is_structure(id) else { return Err(Problem::Refused) };
        let mut found = Vec::new();
        self.members(id, head, 0, &mut found)?;
        check(found)
    }

    /// The fields of variables, which are at these places.
    pub(in crate::verifier_sim) fn variables(
        mut self,
        all: impl Iterator<Item = (u32, u32)>,
    ) -> Found<Vec<SpecialField>> {
        let mut found = Vec::new();
        for (id, offset) in all {
            let Some(variable) = self.btf.head(id).filter(|variable| variable.kind == Kind::Var) else { continue };
            self.field(variable.size_or_type, (id, u32::MAX), offset, 0, &mut found)?;
        }
        check(found)
    }

    fn is_structure(&self, id: u32) -> Option<Head> {
        self.btf.head(id).filter(|head| head.kind == Kind::Struct)
    }

    fn members(&mut self, id: u32, head: Head, level: usize, found: &mut Vec<SpecialField>) -> Found {
        let btf = self.btf;
        for (index, member) in btf.members(head).enumerate() {
            if member.bit_offset % 8 != 0 {
                // The kernel refuses this only where it looks for fields at all; bit fields are common in other structures.
                return Err(Problem::Refused);
            }
            self.field(member.type_id, (id, index as u32), member.bit_offset / 8, level, found)?;
        }
        Ok(())
    }

    /// One member or variable of type `of`; `tagged` is what its tags are attached to.
    fn field(
        &mut self,
        of: u32,
        tagged: (u32, u32),
        offset: u32,
        level: usize,
        found: &mut Vec<SpecialField>,
    ) -> Found {
        *self.visits = self.visits.checked_sub(1).ok_or(Problem::TooLarge)?;
        let (mut of, mut count) = (of, 1_u32);
        for depth in 0.. {
            let Some(array) = self.btf.head(of).and_then(|head| self.btf.array(head)) else { break };
            if depth == MAX_DEPTH {
                return Err(Problem::Refused);
            }
            count = count.wrapping_mul(array.count);
            of = array.element;
        }
        let Some(head) = self.btf.head(of).filter(|_| count != 0) else { return Ok(()) };
        let before = found.len();
        let size = match self.known(head) {
            Some(index) => {
                let known = &KNOWN[index];
                if known.once && self.seen & 1 << index != 0 {
                    return Err(Problem::Refused);
                }
                self.seen |= u16::from(known.once) << index;
                if !offset.is_multiple_of(known.align) || head.kind != Kind::Struct || head.size_or_type != known.size {
                    return Ok(());
                }
                let (structure, node) = match known.name {
                    LIST => self.elements(tagged, "bpf_list_node")?,
                    TREE => self.elements(tagged, "bpf_rb_node")?,
                    _ => (0, 0),
                };
                found.push(SpecialField { name: known.name.to_owned(), offset, structure, node });
                known.size
            }
            None if head.kind == Kind::Struct => {
                if level + 1 >= MAX_DEPTH {
                    return Err(Problem::Refused);
                }
                self.members(of, head, level + 1, found)?;
                for field in &mut found[before..] {
                    field.offset = field.offset.saturating_add(offset);
                }
                head.size_or_type
            }
            None => {
                let pointer = if offset.is_multiple_of(POINTER) { kernel_pointer(self.btf, head)? } else { None };
                let Some((name, structure)) = pointer else { return Ok(()) };
                found.push(SpecialField { name, offset, structure, node: 0 });
                POINTER
            }
        };
        let first = found.len() - before;
        if count > 1 && first > 0 {
            if !found[before..].iter().all(repeats) || first as u64 * u64::from(count) > MAX_FIELDS as u64 {
                return Err(Problem::Refused);
            }
            for number in 1..count {
                for index in before..before + first {
                    let field = found[index].clone();
                    let offset = field.offset.saturating_add(number.saturating_mul(size));
                    found.push(SpecialField { offset, ..field });
                }
            }
        }
        if found.len() > MAX_FIELDS {
            return Err(Problem::Refused);
        }
        Ok(())
    }

    /// The number of the known structure with this name.
    fn known(&self, head: Head) -> Option<usize> {
        let name = self.btf.string(head.name);
        let wanted = |known: &Known| if self.holder == Holder::Map { known.in_maps } else { known.in_objects };
        KNOWN.iter().position(|known| known.name.as_bytes() == name && wanted(known))
    }

    /// What the elements of the list or tree with these tags are, and where in them the node is.
    fn elements(&mut self, (id, index): (u32, u32), node: &str) -> Found<(u32, u32)> {
        // All tags and structures are looked at.
        let cost = 1 + self.btf.type_count() / 256;
        *self.visits = self.visits.checked_sub(cost).ok_or(Problem::TooLarge)?;
        let tags = self.btf.argument_tags(id, index);
        let mut tags = tags.iter().filter_map(|tag| tag.strip_prefix(CONTAINS));
        let (Some(tag), None) = (tags.next(), tags.next()) else { return Err(Problem::Refused) };
        let Some((structure, member)) = tag.split_once(':') else { return Err(Problem::Refused) };
        let found = self.btf.struct_by_name(structure).and_then(|id| Some((id, self.btf.head(id)?)));
        let Some((structure, head)) = found else { return Err(Problem::Refused) };
        let mut members = self.btf.members(head).filter(|found| self.btf.is_string(found.name, member.as_bytes()));
        let (Some(member), None) = (members.next(), members.next()) else { return Err(Problem::Refused) };
        let of = self.is_structure(member.type_id).filter(|of| self.btf.string(of.name) == node.as_bytes());
        if of.is_none() || member.bit_offset % (8 * POINTER) != 0 {
            return Err(Problem::Refused);
        }
        Ok((structure, member.bit_offset / 8))
    }
}

/// The tag of a pointer that the kernel keeps, and what it points to (`btf_find_kptr`).
pub(in crate::verifier_sim) fn kernel_pointer(btf: &Btf, head: Head) -> Found<Option<(String, u32)>> {
    let head = if head.kind == Kind::Volatile { btf.head(head.size_or_type) } else { Some(head) };
    let Some(pointer) = head.filter(|head| head.kind == Kind::Ptr) else { return Ok(None) };
    let Some(tag) = btf.head(pointer.size_or_type).filter(|tag| tag.kind == Kind::TypeTag) else { return Ok(None) };
    let again = btf.kind(tag.size_or_type) == Some(Kind::TypeTag);
    let name = btf.string(tag.name);
    let to = btf.resolve(tag.size_or_type).filter(|to| btf.kind(*to) == Some(Kind::Struct));
    match to {
        Some(to) if !again && POINTERS.contains(&name) => Ok(Some((String::from_utf8_lossy(name).into_owned(), to))),
        _ => Err(Problem::Refused),
    }
}

/// The fields are in order, and those that need a lock or a count have it.
fn check(found: Vec<SpecialField>) -> Found<Vec<SpecialField>> {
    let in_order = found.windows(2).all(|pair| pair[0].offset.saturating_add(size_of(&pair[0].name)) <= pair[1].offset);
    let has = |name: &str| found.iter().any(|field| field.name == name);
    let locked = has("bpf_spin_lock") || has("bpf_res_spin_lock");
    let linked_twice = has("bpf_list_node") && has("bpf_rb_node") && !has("bpf_refcount");
    if !in_order || ((has(LIST) || has(TREE)) && !locked) || linked_twice {
        return Err(Problem::Refused);
    }
    Ok(found)
}
