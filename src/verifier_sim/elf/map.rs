//! Maps as objects define them: BTF definitions (`.maps`), `struct bpf_map_def` (`maps`) and global data.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use byteorder::{ByteOrder, NativeEndian};

use super::ElfError;
use crate::btf::{Array, Btf, Head, Kind};
use crate::verifier_sim::spec::{MapSpec, MapType, SpecialField};
use crate::verifier_sim::types::fields::{Holder, Problem, Search};

/// Most members, over all levels, that are looked at in the map values of one object.
const MAX_MEMBERS: u32 = 1 << 16;

/// The maps of an object, each made once, however many programs use it.
#[derive(Debug)]
pub(super) struct Made {
    maps: BTreeMap<(usize, u64), MapSpec>,
    /// How many members may still be looked at.
    visits: u32,
}

impl Made {
    pub(super) fn new() -> Self {
        Self { maps: BTreeMap::new(), visits: MAX_MEMBERS }
    }

    /// The map at a place: (section, byte offset).
    pub(super) fn map(
        &mut self,
        place: (usize, u64),
        make: impl FnOnce(&mut u32) -> Result<MapSpec, ElfError>,
    ) -> Result<MapSpec, ElfError> {
        Ok(match self.maps.entry(place) {
            Entry::Occupied(made) => made.get().clone(),
            Entry::Vacant(vacant) => vacant.insert(make(&mut self.visits)?).clone(),
        })
    }
}

/// The definition of the map variable `name` in `.maps`.
pub(super) fn from_btf(btf: &Btf, name: &str, visits: &mut u32) -> Result<MapSpec, ElfError> {
    let variables =
        (1..=btf.type_count()).filter_map(|id| btf.head(id)).filter(|head| btf.string(head.name) == b".maps");
    let mut variables = variables.flat_map(|section| btf.variables(section)).filter_map(|id| btf.head(id));
    let found = variables.find(|variable| variable.kind == Kind::Var && btf.string(variable.name) == name.as_bytes());
    match found {
        Some(variable) => definition(btf, name, variable.size_or_type, true, visits),
        None => Err(map_error(name, "its type is missing from the object's BTF; compile with -g")),
    }
}

/// What a type is under its typedefs, qualifiers and tags.
fn resolve(btf: &Btf, type_id: u32) -> Result<Head, ElfError> {
    btf.resolve(type_id)
        .and_then(|id| btf.head(id))
        .ok_or(ElfError::Types("a type refers to one that is void, missing or endless"))
}

fn size(btf: &Btf, type_id: u32) -> Result<u32, ElfError> {
    btf.size_of(type_id).ok_or(ElfError::Types("a type has no size, or is larger than 4 GiB"))
}

fn map_error(map: &str, what: impl Into<String>) -> ElfError {
    ElfError::Map { map: map.to_owned(), what: what.into() }
}

fn definition(btf: &Btf, name: &str, type_id: u32, outer: bool, visits: &mut u32) -> Result<MapSpec, ElfError> {
    let head = resolve(btf, type_id)?;
    if !head.is_composite() {
        return Err(map_error(name, "its definition is not a structure"));
    }
    let mut spec = MapSpec::default();
    let mut described = None;
    for member in btf.members(head) {
        match btf.string(member.name) {
            b"type" => spec.map_type = MapType(number(btf, name, member.type_id)?),
            b"max_entries" => spec.max_entries = number(btf, name, member.type_id)?,
            b"map_flags" => spec.map_flags = number(btf, name, member.type_id)?,
            b"key_size" => spec.key_size = number(btf, name, member.type_id)?,
            b"value_size" => spec.value_size = number(btf, name, member.type_id)?,
            b"key" => spec.key_size = size(btf, pointee(btf, name, member.type_id)?)?,
            b"value" => {
                let value = pointee(btf, name, member.type_id)?;
                spec.value_size = size(btf, value)?;
                described = btf.resolve(value);
            }
            b"values" if outer => {
                let Some(Array { element, .. }) = btf.array(resolve(btf, member.type_id)?) else {
                    return Err(map_error(name, "its member \"values\" is not an array"));
                };
                let target = pointee(btf, name, element)?;
                spec.value_size = 4;
                if matches!(spec.map_type, MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS) {
                    spec.inner = Some(Box::new(definition(btf, name, target, false, visits)?));
                }
            }
            // They say where the map lives, not what programs may do with it.
            b"pinning" | b"numa_node" | b"map_extra" => {}
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(map_error(name, format!("its definition has the unknown member {other:?}")));
            }
        }
    }
    if let Some(value) = described {
        keep_fields(&mut spec, Search::new(btf, Holder::Map, visits).structure(value))?;
    }
    if spec.map_type == MapType::UNSPEC {
        return Err(map_error(name, "its definition has no member \"type\""));
    }
    Ok(spec)
}

/// `__uint(name, value)`: a pointer to an array of `value` elements.
fn number(btf: &Btf, map: &str, type_id: u32) -> Result<u32, ElfError> {
    match btf.array(resolve(btf, pointee(btf, map, type_id)?)?) {
        Some(array) => Ok(array.count),
        None => Err(map_error(map, "a number in its definition is not given with __uint()")),
    }
}

fn pointee(btf: &Btf, map: &str, type_id: u32) -> Result<u32, ElfError> {
    match resolve(btf, type_id)? {
        Head { kind: Kind::Ptr, size_or_type, .. } => Ok(size_or_type),
        _ => Err(map_error(map, "a member of its definition is not a pointer")),
    }
}

/// Notes the special fields that the search has found.
fn keep_fields(spec: &mut MapSpec, found: Result<Vec<SpecialField>, Problem>) -> Result<(), ElfError> {
    // Of a map whose fields are faulty the kernel takes care as if there were none.
    spec.special = match found {
        Ok(fields) => fields,
        Err(Problem::Refused) => Vec::new(),
        Err(Problem::TooLarge) => return Err(ElfError::Types("a map value has too many members")),
    };
    spec.typed = true;
    Ok(())
}

/// `struct bpf_map_def`: type, key size, value size, entries, flags, and fields of other loaders that are ignored.
pub(super) fn from_legacy(name: &str, bytes: &[u8]) -> Result<MapSpec, ElfError> {
    let mut words = bytes.chunks_exact(4).map(NativeEndian::read_u32);
    let mut next = || words.next().ok_or_else(|| map_error(name, "its bpf_map_def is shorter than 16 bytes"));
    Ok(MapSpec {
        map_type: MapType(next()?),
        key_size: next()?,
        value_size: next()?,
        max_entries: next()?,
        map_flags: next().unwrap_or(0),
        ..MapSpec::default()
    })
}

/// The one-element array that libbpf makes of a section of global data.
///
/// `place` says where in the section a variable is.
pub(super) fn from_data(
    btf: &Btf,
    section: &str,
    size: u64,
    data: Option<Vec<u8>>,
    place: impl Fn(&[u8]) -> Option<u32>,
    visits: &mut u32,
) -> Result<MapSpec, ElfError> {
    let value_size = u32::try_from(size).map_err(|_| map_error(section, "it is larger than 4 GiB"))?;
    let described = btf.by_name(Kind::Datasec, section).and_then(|section| btf.head(section));
    let variables = described.into_iter().flat_map(|section| btf.variables(section));
    let mut variables: Vec<(u32, u32)> =
        variables.filter_map(|id| Some((id, btf.short_name(id).and_then(&place)?))).collect();
    // The loader puts them in order.
    variables.sort_by_key(|(_, offset)| *offset);
    let constant = section == ".rodata" || section.starts_with(".rodata.");
    let mut spec = MapSpec {
        map_type: MapType::ARRAY,
        key_size: 4,
        value_size,
        max_entries: 1,
        map_flags: if constant { MapSpec::RDONLY_PROG } else { 0 },
        data,
        frozen: constant,
        ..MapSpec::default()
    };
    if described.is_some() {
        keep_fields(&mut spec, Search::new(btf, Holder::Map, visits).variables(variables.into_iter()))?;
    }
    Ok(spec)
}
