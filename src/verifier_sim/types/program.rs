//! The types of a program: the structures that it allocates.

use std::collections::{BTreeMap, BTreeSet};

use crate::btf::{Btf, Error, Kind};
use crate::verifier_sim::types::KernelTypes;
use crate::verifier_sim::types::fields::{Holder, Search, SpecialField, kernel_pointer};

/// Most members, over all structures, that are looked at.
const MAX_MEMBERS: u32 = 1 << 16;

/// The structures that make a structure one whose objects the kernel takes care of (`alloc_obj_fields`).
const MARKS: [&str; 7] = [
    "bpf_spin_lock",
    "bpf_res_spin_lock",
    "bpf_list_head",
    "bpf_list_node",
    "bpf_rb_root",
    "bpf_rb_node",
    "bpf_refcount",
];

/// The BTF that a program and its maps are loaded with.
#[derive(Debug)]
pub struct ProgramTypes {
    types: KernelTypes,
    /// The special fields of each structure that has any; `None` if the kernel finds them faulty, and refuses the BTF.
    objects: Option<BTreeMap<u32, Vec<SpecialField>>>,
}

impl PartialEq for ProgramTypes {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for ProgramTypes {}

impl ProgramTypes {
    /// Reads the binary form of BTF.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        Ok(Self::new(Btf::parse(data)?))
    }

    pub(in crate::verifier_sim) fn new(btf: Btf) -> Self {
        let objects = objects(&btf);
        Self { types: KernelTypes::of(btf), objects }
    }

    /// Questions about structures.
    pub(in crate::verifier_sim) fn types(&self) -> &KernelTypes {
        &self.types
    }

    /// The special fields of each structure that has any.
    pub(in crate::verifier_sim) fn objects(&self) -> Option<&BTreeMap<u32, Vec<SpecialField>>> {
        self.objects.as_ref()
    }
}

/// `btf_parse_struct_metas`.
fn objects(btf: &Btf) -> Option<BTreeMap<u32, Vec<SpecialField>>> {
    let mut marks: BTreeSet<u32> = MARKS.iter().filter_map(|name| btf.struct_by_name(name)).collect();
    for id in 1..=btf.type_count() {
        if btf.head(id).is_some_and(|head| matches!(kernel_pointer(btf, head), Ok(Some(_)))) {
            marks.insert(id);
        }
    }
    let mut found = BTreeMap::new();
    if marks.is_empty() {
        return Some(found);
    }
    let mut visits = MAX_MEMBERS;
    for id in 1..=btf.type_count() {
        let Some(head) = btf.head(id).filter(|head| head.kind == Kind::Struct) else { continue };
        if btf.members(head).any(|member| marks.contains(&member.type_id)) {
            let fields = Search::new(btf, Holder::Object, &mut visits).structure(id).ok()?;
            if fields.is_empty() {
                return None;
            }
            found.insert(id, fields);
        }
    }
    let has = |id: u32, end: &[&str]| {
        found.get(&id).is_some_and(|fields: &Vec<SpecialField>| fields.iter().any(|field| end.contains(&&*field.name)))
    };
    let (roots, nodes) = (["bpf_list_head", "bpf_rb_root"], ["bpf_list_node", "bpf_rb_node"]);
    // The elements of lists and trees are such structures; those that are elements themselves do not own owners.
    let sound = found.iter().all(|(id, fields)| {
        let mut owned = fields.iter().filter(|field| roots.contains(&&*field.name)).map(|field| field.structure);
        owned.all(|owned| found.contains_key(&owned) && !(has(*id, &nodes) && has(owned, &roots)))
    });
    sound.then_some(found)
}
