//! As much of BTF as map definitions need (Documentation/bpf/btf.rst).
//!
//! ```text
//! header   magic u16 | version u8 | flags u8 | hdr_len u32 | type_off u32 | type_len u32 | str_off u32 | str_len u32
//! type     name_off u32 | info u32 | size or type u32 | kind-specific data
//! info     kind_flag:1 | 0:2 | kind:5 | 0:8 | vlen:16
//! ```

use super::ElfError;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Longest chain of typedefs, qualifiers and arrays that is followed; the kernel's `MAX_RESOLVE_DEPTH`.
const MAX_DEPTH: usize = 32;

/// The kinds that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A type with a size and nothing inside that matters.
    Sized(u32),
    /// A pointer to a type.
    Pointer(u32),
    /// Elements of a type.
    Array { element: u32, count: u32 },
    /// A structure or union.
    Struct { size: u32, members: Vec<Member> },
    /// A typedef, a qualifier or a tag on another type.
    Alias(u32),
    /// A variable of a type.
    Var(u32),
    /// A section and the variables in it.
    DataSec(Vec<u32>),
    /// Anything else: no size, nothing inside.
    Other,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) type_id: u32,
    /// From the start of the structure, in bits.
    pub(super) bit_offset: u32,
}

/// One type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) name: u32,
    pub(super) kind: Kind,
}

/// The types of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Btf<'a> {
    /// By id; id 0 is void.
    types: Vec<Type>,
    strings: &'a [u8],
}

/// Little-endian words from the front of a slice.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32, ElfError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(ElfError::Btf("a type reaches beyond the type section"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn skip(&mut self, words: usize) -> Result<(), ElfError> {
        self.0 = self.0.get(words * 4..).ok_or(ElfError::Btf("a type reaches beyond the type section"))?;
        Ok(())
    }
}

impl<'a> Btf<'a> {
    /// Reads the contents of a `.BTF` section.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ElfError> {
        let (magic, rest) = data.split_first_chunk().ok_or(ElfError::Btf("it is shorter than its header"))?;
        if u16::from_le_bytes(*magic) != MAGIC {
            return Err(ElfError::Btf("it does not begin with the bytes 9f eb"));
        }
        let header = rest.get(2..22).ok_or(ElfError::Btf("it is shorter than its header"))?;
        let mut header = Words(header);
        let header_len = header.next()? as usize;
        let mut part = || {
            let (offset, len) = (header.next()? as usize, header.next()? as usize);
            let start = header_len.checked_add(offset);
            start
                .and_then(|start| data.get(start..start.checked_add(len)?))
                .ok_or(ElfError::Btf("its parts reach beyond its end"))
        };
        let (types, strings) = (part()?, part()?);
        let mut words = Words(types);
        let mut btf = Self { types: vec![Type { name: 0, kind: Kind::Other }], strings };
        while !words.0.is_empty() {
            btf.types.push(read_type(&mut words)?);
        }
        Ok(btf)
    }

    /// The string at an offset; empty when there is none or it is no UTF-8.
    pub(super) fn string(&self, offset: u32) -> &'a str {
        let bytes = self.strings.get(offset as usize..).unwrap_or_default();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
        std::str::from_utf8(&bytes[..end]).unwrap_or_default()
    }

    /// A type by id.
    pub(super) fn get(&self, id: u32) -> Result<&Type, ElfError> {
        self.types.get(id as usize).ok_or(ElfError::Btf("a type refers to an id that does not exist"))
    }

    /// A type by id, past typedefs, qualifiers and tags.
    pub(super) fn resolve(&self, mut id: u32) -> Result<&Type, ElfError> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind {
                Kind::Alias(target) => id = target,
                _ => return Ok(found),
            }
        }
        Err(ElfError::Btf("a chain of typedefs does not end"))
    }

    /// The size of a type in bytes.
    pub(super) fn size(&self, mut id: u32) -> Result<u32, ElfError> {
        let mut times: u32 = 1;
        for _ in 0..MAX_DEPTH {
            let one = match &self.resolve(id)?.kind {
                Kind::Sized(size) | Kind::Struct { size, .. } => *size,
                Kind::Pointer(_) => 8,
                Kind::Array { element, count } => {
                    times = times.checked_mul(*count).ok_or(ElfError::Btf("an array is larger than 4 GiB"))?;
                    id = *element;
                    continue;
                }
                _ => return Err(ElfError::Btf("a type has no size")),
            };
            return times.checked_mul(one).ok_or(ElfError::Btf("an array is larger than 4 GiB"));
        }
        Err(ElfError::Btf("a chain of arrays does not end"))
    }

    /// The variables of the section with this name: (name, type).
    pub(super) fn variables(&self, section: &str) -> Result<Vec<(&'a str, u32)>, ElfError> {
        let mut found = Vec::new();
        for data_sec in self.types.iter().filter(|known| self.string(known.name) == section) {
            let Kind::DataSec(variables) = &data_sec.kind else { continue };
            for &variable in variables {
                let variable = self.get(variable)?;
                if let Kind::Var(type_id) = variable.kind {
                    found.push((self.string(variable.name), type_id));
                }
            }
        }
        Ok(found)
    }
}

fn read_type(words: &mut Words<'_>) -> Result<Type, ElfError> {
    let (name, info, size_or_type) = (words.next()?, words.next()?, words.next()?);
    let count = (info & 0xffff) as usize;
    // With kind_flag the upper byte of a member's offset is the width of a bit field.
    let bit_fields = info >> 31 != 0;
    let kind = match info >> 24 & 0x1f {
        1 => {
            words.skip(1)?;
            Kind::Sized(size_or_type)
        }
        2 => Kind::Pointer(size_or_type),
        3 => {
            let (element, _index, count) = (words.next()?, words.next()?, words.next()?);
            Kind::Array { element, count }
        }
        4 | 5 => {
            let mut members = Vec::new();
            for _ in 0..count {
                let (name, type_id, offset) = (words.next()?, words.next()?, words.next()?);
                let bit_offset = if bit_fields { offset & 0xff_ffff } else { offset };
                members.push(Member { name, type_id, bit_offset });
            }
            Kind::Struct { size: size_or_type, members }
        }
        6 => {
            words.skip(count * 2)?;
            Kind::Sized(size_or_type)
        }
        19 => {
            words.skip(count * 3)?;
            Kind::Sized(size_or_type)
        }
        16 => Kind::Sized(size_or_type),
        8..=11 | 18 => Kind::Alias(size_or_type),
        7 | 12 => Kind::Other,
        13 => {
            words.skip(count * 2)?;
            Kind::Other
        }
        14 => {
            words.skip(1)?;
            Kind::Var(size_or_type)
        }
        15 => {
            let mut variables = Vec::new();
            for _ in 0..count {
                variables.push(words.next()?);
                words.skip(2)?;
            }
            Kind::DataSec(variables)
        }
        17 => {
            words.skip(1)?;
            Kind::Other
        }
        _ => return Err(ElfError::Btf("it has a type of unknown kind")),
    };
    Ok(Type { name, kind })
}
