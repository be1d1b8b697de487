//! Reading BTF without building a graph: the bytes, and where each type starts in them.

use std::path::Path;

use super::kind::{HEAD, Kind, MEMBER};
use crate::syscall::error::{Error, Result};

/// Where the kernel shows its own types (CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// `BTF_MAGIC` of `include/uapi/linux/btf.h`.
pub(super) const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_header`, as far as it is known.
pub(super) const HEADER: usize = 24;

/// Types in the binary form of BTF, in this machine's byte order. Whatever the bytes are, nothing here panics.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where the strings start and end in `bytes`.
    strings: (usize, usize),
    /// Where type `id` starts in `bytes`, at index `id - 1`.
    starts: Vec<u32>,
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) type_id: u32,
    /// From the start of the struct.
    pub(super) bit_offset: u32,
    /// Width of a bit field, else 0.
    pub(super) bits: u32,
}

/// The head of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    start: usize,
    name: u32,
    vlen: usize,
    flag: bool,
    /// The size or the type that is referred to.
    pub(super) word: u32,
}

impl Btf {
    /// The running kernel's types.
    pub fn vmlinux() -> Result<Self> {
        let path = Path::new(VMLINUX);
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                what: format!("type information ({VMLINUX})"),
                remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            },
            _ => Error::file("read", path, &error),
        })?;
        Self::parse(bytes)
    }

    /// Takes BTF from memory, and finds where each type starts.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(|| malformed("it is shorter than its header"))?;
        let magic = u16::from_ne_bytes([header[0], header[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(malformed("it is in the other byte order"));
        }
        if magic != MAGIC || header[2] != 1 {
            return Err(malformed("it does not start with the magic number and version 1"));
        }
        let field =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        let header_len = field(4);
        let section = |offset: usize, len: usize| {
            let start = header_len.checked_add(offset)?;
            let end = start.checked_add(len)?;
            (header_len >= HEADER && end <= bytes.len() && u32::try_from(end).is_ok()).then_some((start, end))
        };
        let types = section(field(8), field(12)).ok_or_else(|| malformed("its types lie outside of it"))?;
        let strings = section(field(16), field(20)).ok_or_else(|| malformed("its strings lie outside of it"))?;
        let mut btf = Self { bytes, strings, starts: Vec::new() };
        btf.starts = btf.find_types(types)?;
        Ok(btf)
    }

    fn find_types(&self, (start, end): (usize, usize)) -> Result<Vec<u32>> {
        // A type of vmlinux takes some 34 bytes on average; a guess that saves moving the list.
        let mut starts = Vec::with_capacity((end - start) / 32);
        let mut at = start;
        while at < end {
            let head =
                self.head_at(at).ok_or_else(|| malformed(format!("type {} is of no known kind", starts.len() + 1)))?;
            starts.push(at as u32);
            at += HEAD + head.kind.tail(head.vlen);
            if at > end {
                return Err(malformed(format!("type {} is cut off", starts.len())));
            }
        }
        Ok(starts)
    }

    /// How many types there are; ids run from 1 to this number.
    pub fn type_count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// The id of the struct `name`.
    pub fn struct_by_name(&self, name: &str) -> Option<u32> {
        self.by_name(Kind::Struct, name)
    }

    /// The id of the function `name`: what an iterator, a kfunc call or a trace point wants to know.
    pub fn func_by_name(&self, name: &str) -> Option<u32> {
        self.by_name(Kind::Func, name)
    }

    /// The id of the first type of `kind` with `name`.
    pub fn by_name(&self, kind: Kind, name: &str) -> Option<u32> {
        let index = self.starts.iter().position(|&start| {
            // The kind is beside the start; only names of that kind are fetched from the strings.
            let info = self.word(start as usize + 4).unwrap_or(0);
            info >> 24 & 0x1f == kind.number()
                && self.word(start as usize).is_some_and(|offset| self.is_string(offset, name.as_bytes()))
        })?;
        Some(index as u32 + 1)
    }

    /// The name of type `id`; empty for anonymous types, `None` when there is no such type.
    pub fn name(&self, id: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.string(self.head(id)?.name)).into_owned())
    }

    /// The kind of type `id`.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        Some(self.head(id)?.kind)
    }

    /// What type `id` is under its typedefs and qualifiers; `None` for void, missing types and endless chains.
    pub fn resolve(&self, mut id: u32) -> Option<u32> {
        // MAX_RESOLVE_DEPTH of kernel/bpf/btf.c.
        for _ in 0..32 {
            let head = self.head(id)?;
            match head.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => id = head.word,
                _ => return Some(id),
            }
        }
        None
    }

    /// The size in bytes of a value of type `id`.
    pub fn size_of(&self, id: u32) -> Option<u32> {
        let mut count = 1_u32;
        let mut id = id;
        for _ in 0..32 {
            let head = self.head(self.resolve(id)?)?;
            match head.kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Datasec => {
                    return count.checked_mul(head.word);
                }
                // BTF describes the kernel it comes from, so its pointers are ours.
                Kind::Ptr => return count.checked_mul(size_of::<usize>() as u32),
                Kind::Array => {
                    count = count.checked_mul(self.word(head.start + HEAD + 8)?)?;
                    id = self.word(head.start + HEAD)?;
                }
                _ => return None,
            }
        }
        None
    }

    /// What a pointer, or an array's element, of type `id` is of.
    pub fn target(&self, id: u32) -> Option<u32> {
        let head = self.head(self.resolve(id)?)?;
        match head.kind {
            Kind::Ptr => Some(head.word),
            Kind::Array => self.word(head.start + HEAD),
            _ => None,
        }
    }

    pub(super) fn head(&self, id: u32) -> Option<Head> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)?;
        self.head_at(start as usize)
    }

    /// The members of a struct or union.
    pub(super) fn members(&self, head: Head) -> impl Iterator<Item = Member<'_>> {
        let count = if matches!(head.kind, Kind::Struct | Kind::Union) { head.vlen } else { 0 };
        (0..count).map_while(move |index| {
            let at = head.start + HEAD + index * MEMBER;
            let (name, type_id, offset) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            // BTF_MEMBER_BITFIELD_SIZE and BTF_MEMBER_BIT_OFFSET of include/uapi/linux/btf.h.
            let (bit_offset, bits) = if head.flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            Some(Member { name: self.string(name), type_id, bit_offset, bits })
        })
    }

    /// The value of `name` in the enum `of`, whose values are 32 bits wide.
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let head = self.head(self.by_name(Kind::Enum, of)?)?;
        // struct btf_enum: the name and the value.
        let mut places = (0..head.vlen).map(|index| head.start + HEAD + index * 8);
        let found = places.find(|&at| self.word(at).is_some_and(|offset| self.is_string(offset, name.as_bytes())))?;
        self.word(found + 4)
    }

    fn head_at(&self, start: usize) -> Option<Head> {
        let info = self.word(start + 4)?;
        Some(Head {
            // BTF_INFO_KIND, _VLEN and _KFLAG.
            kind: Kind::from_number(info >> 24 & 0x1f)?,
            vlen: (info & 0xffff) as usize,
            flag: info >> 31 == 1,
            start,
            name: self.word(start)?,
            word: self.word(start + 8)?,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    fn strings_from(&self, offset: u32) -> &[u8] {
        let (start, end) = self.strings;
        self.bytes.get(start + offset as usize..end).unwrap_or_default()
    }

    fn is_string(&self, offset: u32, text: &[u8]) -> bool {
        self.strings_from(offset).strip_prefix(text).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn string(&self, offset: u32) -> &[u8] {
        let tail = self.strings_from(offset);
        &tail[..tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len())]
    }
}

fn malformed(why: impl Into<String>) -> Error {
    Error::Malformed { what: "BTF", why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::BtfBuilder;

    fn sample() -> Vec<u8> {
        let mut builder = BtfBuilder::new();
        let int = builder.int("int", 4, true);
        let index = builder.int("__ARRAY_SIZE_TYPE__", 4, false);
        let array = builder.array(int, index, 6);
        builder.structure("pair", 24, &[("both", array, 0)]);
        let proto = builder.func_proto(int, &[("argument", int)]);
        builder.func("work", proto);
        builder.enumeration("colour", &[("RED", 0), ("BLUE", 7)]);
        builder.finish()
    }

    #[test]
    fn finds_types_by_kind_and_name() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.type_count(), 7);
        assert_eq!(btf.enumerator("colour", "BLUE"), Some(7));
        assert_eq!(btf.enumerator("colour", "BLU"), None);
        assert_eq!(btf.enumerator("pair", "BLUE"), None);
        assert_eq!(btf.struct_by_name("pair"), Some(4));
        assert_eq!(btf.func_by_name("work"), Some(6));
        assert_eq!(btf.func_by_name("pair"), None);
        assert_eq!(btf.struct_by_name("pai"), None);
        assert_eq!(btf.struct_by_name("pairs"), None);
        assert_eq!(btf.name(4).as_deref(), Some("pair"));
        assert_eq!(btf.kind(5), Some(Kind::FuncProto));
        assert_eq!((btf.kind(0), btf.kind(8)), (None, None));
        assert_eq!(btf.size_of(4), Some(24));
        assert_eq!(btf.size_of(3), Some(24));
        assert_eq!(btf.target(3), Some(1));
    }

    #[test]
    fn any_cut_or_flipped_byte_is_an_error_or_another_type_but_no_panic() {
        let sample = sample();
        for len in 0..sample.len() {
            // The strings come last, so every cut takes away something the header promises.
            assert!(Btf::parse(&sample[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..sample.len() {
            for bit in 0..8 {
                let mut bytes = sample.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(btf) = Btf::parse(bytes) {
                    for id in 0..=btf.type_count() + 1 {
                        let _ = (btf.name(id), btf.kind(id), btf.size_of(id), btf.target(id), btf.resolve(id));
                    }
                    let _ = (btf.offset_of("pair", "both"), btf.enumerator("colour", "BLUE"));
                }
            }
        }
    }

    #[test]
    fn the_other_byte_order_is_named() {
        let mut bytes = sample();
        bytes.swap(0, 1);
        assert!(Btf::parse(bytes).unwrap_err().to_string().contains("other byte order"));
    }
}
