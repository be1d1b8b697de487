//! Reading BTF without building a graph: a kernel has more than a hundred thousand types. The bytes stay as they are;
//! only where each type starts is kept.

use super::kind::{HEAD, Kind, MEMBER};
use super::order::Order;
use super::{Error, HEADER, MAX_DEPTH, VERSION};

/// Bytes of the longest name, with its end (`KSYM_NAME_LEN` of include/linux/kallsyms.h).
pub(crate) const MAX_NAME: usize = 512;

/// Types in the binary form of BTF, in either byte order. Whatever the bytes are, nothing here panics.
///
/// The default has no types.
#[derive(Clone, Debug, Default)]
pub struct Btf {
    bytes: Vec<u8>,
    order: Order,
    /// Where the strings start and end in `bytes`.
    strings: (usize, usize),
    /// Where type `id` starts in `bytes`, at index `id - 1`.
    starts: Vec<u32>,
    /// The ids of all structs: they are asked for most, and are a twelfth of a kernel's types.
    structs: Vec<u32>,
    /// The ids of all tags of functions and arguments.
    tags: Vec<u32>,
}

/// The head of a type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head {
    /// What kind of type it is.
    pub kind: Kind,
    /// Where its name is among the strings; 0 for anonymous types.
    pub name: u32,
    /// How many parts it has: members, parameters, values.
    pub parts: usize,
    /// The size, or the type that is referred to.
    pub size_or_type: u32,
    /// Where the type starts in the bytes.
    pub(super) start: usize,
    pub(super) flag: bool,
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Where its name is among the strings; anonymous structs and unions have an empty one.
    pub name: u32,
    /// Its type.
    pub type_id: u32,
    /// From the start of the struct.
    pub bit_offset: u32,
    /// Width of a bit field, else 0.
    pub bits: u32,
}

/// What an array is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Array {
    /// The type of the elements.
    pub element: u32,
    /// How many there are.
    pub count: u32,
}

impl Btf {
    /// Takes BTF from memory, and finds where each type starts.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let header: &[u8; HEADER] =
            bytes.first_chunk().ok_or_else(|| Error::malformed("it is shorter than its header"))?;
        let order = Order::of_magic([header[0], header[1]])
            .filter(|_| header[2] == VERSION)
            .ok_or_else(|| Error::malformed("it does not start with the magic number 0xeb9f and version 1"))?;
        let field = |at: usize| order.word([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        let header_len = field(4);
        let section = |offset: usize, len: usize| {
            let start = header_len.checked_add(offset)?;
            let end = start.checked_add(len)?;
            (header_len >= HEADER && end <= bytes.len() && u32::try_from(end).is_ok()).then_some((start, end))
        };
        let types = section(field(8), field(12)).ok_or_else(|| Error::malformed("its types lie outside of it"))?;
        let strings = section(field(16), field(20)).ok_or_else(|| Error::malformed("its strings lie outside of it"))?;
        // Kernels and libbpf refuse it, too (`btf_parse_str_sec`).
        if !matches!(bytes.get(strings.0..strings.1), Some([0] | [0, .., 0])) {
            return Err(Error::malformed("its strings do not begin and end with a zero byte"));
        }
        let mut btf = Self { bytes, order, strings, ..Self::default() };
        btf.find_types(types)?;
        Ok(btf)
    }

    fn find_types(&mut self, (start, end): (usize, usize)) -> Result<(), Error> {
        // A type of vmlinux takes some 25 bytes on average; a guess that saves moving the list.
        self.starts.reserve((end - start) / 20);
        let mut at = start;
        while at < end {
            let id = self.type_count() + 1;
            let head = self.head_at(at).ok_or_else(|| Error::malformed(format!("type {id} is of no known kind")))?;
            self.starts.push(at as u32);
            match head.kind {
                Kind::Struct => self.structs.push(id),
                Kind::DeclTag => self.tags.push(id),
                _ => {}
            }
            at += HEAD + head.kind.tail(head.parts);
            if at > end {
                return Err(Error::malformed(format!("type {id} is cut off")));
            }
        }
        Ok(())
    }

    /// How many types there are; ids run from 1 to this number.
    pub fn type_count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// The id of the struct `name`.
    pub fn struct_by_name(&self, name: &str) -> Option<u32> {
        self.by_name(Kind::Struct, name)
    }

    /// The id of the function `name`: what an iterator, a kfunc call or a trace point refers to.
    pub fn func_by_name(&self, name: &str) -> Option<u32> {
        self.by_name(Kind::Func, name)
    }

    /// The id of the first type of `kind` with `name`.
    pub fn by_name(&self, kind: Kind, name: &str) -> Option<u32> {
        let is_it = |start: u32| {
            // The kind is beside the start; only names of that kind are fetched from the strings.
            let info = self.word(start as usize + 4).unwrap_or(0);
            info >> 24 & 0x1f == kind.number()
                && self.word(start as usize).is_some_and(|offset| self.is_string(offset, name.as_bytes()))
        };
        if kind == Kind::Struct {
            let start = |id: &u32| self.starts.get(*id as usize - 1).copied();
            return self.structs.iter().copied().find(|id| start(id).is_some_and(is_it));
        }
        Some(self.starts.iter().position(|&start| is_it(start))? as u32 + 1)
    }

    /// The name of type `id`; empty for anonymous types, `None` when there is no such type.
    pub fn name(&self, id: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.string(self.head(id)?.name)).into_owned())
    }

    /// The name of type `id`, unless it is longer than any that the kernel takes (`KSYM_NAME_LEN`).
    pub(crate) fn short_name(&self, id: u32) -> Option<&[u8]> {
        self.short_string(self.head(id)?.name)
    }

    /// The string at an offset, unless it is longer than any name that the kernel takes.
    pub(crate) fn short_string(&self, offset: u32) -> Option<&[u8]> {
        let tail = self.strings_from(offset);
        let tail = &tail[..tail.len().min(MAX_NAME)];
        Some(&tail[..tail.iter().position(|&byte| byte == 0)?])
    }

    /// Whether the string at an offset is not empty.
    pub(crate) fn is_named(&self, offset: u32) -> bool {
        self.strings_from(offset).first().is_some_and(|&byte| byte != 0)
    }

    /// The kind of type `id`.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        Some(self.head(id)?.kind)
    }

    /// What type `id` is under its typedefs, qualifiers and tags; `None` for void, missing types and endless chains.
    pub fn resolve(&self, id: u32) -> Option<u32> {
        self.resolve_or_void(id).filter(|id| *id != 0)
    }

    /// The same, with 0 for void.
    pub(crate) fn resolve_or_void(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            match self.head(id) {
                Some(head) if head.kind.is_modifier() => id = head.size_or_type,
                Some(_) => return Some(id),
                None => return (id == 0).then_some(0),
            }
        }
        None
    }

    /// The size in bytes of a value of type `id`.
    pub fn size_of(&self, mut id: u32) -> Option<u32> {
        let mut count = 1_u32;
        for _ in 0..MAX_DEPTH {
            let head = self.head(self.resolve(id)?)?;
            match head.kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Datasec => {
                    return count.checked_mul(head.size_or_type);
                }
                // BPF has 64-bit pointers, and so has every kernel that sidestep supports.
                Kind::Ptr => return count.checked_mul(8),
                Kind::Array => {
                    let array = self.array(head)?;
                    count = count.checked_mul(array.count)?;
                    id = array.element;
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
            Kind::Ptr => Some(head.size_or_type),
            _ => Some(self.array(head)?.element),
        }
    }

    /// The names of the parameters of function `id`.
    pub fn parameters(&self, id: u32) -> Option<Vec<String>> {
        let function = self.head(id).filter(|head| head.kind == Kind::Func)?;
        let proto = self.head(function.size_or_type).filter(|head| head.kind == Kind::FuncProto)?;
        // struct btf_param: the name and the type.
        let places = (0..proto.parts).map(|index| proto.start + HEAD + index * 8);
        places.map(|at| Some(String::from_utf8_lossy(self.string(self.word(at)?)).into_owned())).collect()
    }

    /// The tags that argument `index` of function `id` has (`BTF_KIND_DECL_TAG`); `u32::MAX` is the function itself.
    pub fn argument_tags(&self, id: u32, index: u32) -> Vec<String> {
        // struct btf_decl_tag: the number of the argument or member.
        let tags = self.tags.iter().filter_map(|&tag| self.head(tag)).filter(|tag| tag.size_or_type == id);
        let tags = tags.filter(|tag| self.word(tag.start + HEAD) == Some(index));
        tags.map(|tag| String::from_utf8_lossy(self.string(tag.name)).into_owned()).collect()
    }

    /// The parameters of a function's prototype: the offset of the name, and the type.
    pub fn prototype(&self, head: Head) -> impl ExactSizeIterator<Item = (u32, u32)> {
        let count = if head.kind == Kind::FuncProto { head.parts } else { 0 };
        let word = move |at| self.word(at).unwrap_or(0);
        (0..count).map(move |index| head.start + HEAD + index * 8).map(move |at| (word(at), word(at + 4)))
    }

    /// The head of type `id`; `None` for void, which is 0, and for ids that do not exist.
    pub fn head(&self, id: u32) -> Option<Head> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)?;
        self.head_at(start as usize)
    }

    /// What an array is of; `None` for other kinds.
    pub fn array(&self, head: Head) -> Option<Array> {
        // struct btf_array: element, index, count.
        let [element, count] = [0, 8].map(|at| self.word(head.start + HEAD + at));
        (head.kind == Kind::Array).then_some(Array { element: element?, count: count? })
    }

    /// The members of a struct or union.
    pub fn members(&self, head: Head) -> impl DoubleEndedIterator<Item = Member> + ExactSizeIterator {
        let count = if head.is_composite() { head.parts } else { 0 };
        (0..count).map(move |index| self.member_at(head, index))
    }

    /// Member `index` of a struct or union.
    pub fn member_of(&self, head: Head, index: usize) -> Option<Member> {
        (head.is_composite() && index < head.parts).then(|| self.member_at(head, index))
    }

    fn member_at(&self, head: Head, index: usize) -> Member {
        let at = head.start + HEAD + index * MEMBER;
        // The type was found to lie within the bytes.
        let [name, type_id, offset] = [0, 4, 8].map(|part| self.word(at + part).unwrap_or(0));
        // BTF_MEMBER_BITFIELD_SIZE and BTF_MEMBER_BIT_OFFSET of include/uapi/linux/btf.h.
        let (bit_offset, bits) = if head.flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
        Member { name, type_id, bit_offset, bits }
    }

    /// The types of the variables in a section (`BTF_KIND_DATASEC`), which are of kind [`Kind::Var`].
    pub fn variables(&self, head: Head) -> impl Iterator<Item = u32> {
        let count = if head.kind == Kind::Datasec { head.parts } else { 0 };
        // struct btf_var_secinfo: type, offset, size.
        (0..count).filter_map(move |index| self.word(head.start + HEAD + index * 12))
    }

    /// The value of `name` in the enum `of`, whose values are 32 bits wide.
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let head = self.head(self.by_name(Kind::Enum, of)?)?;
        // struct btf_enum: the name and the value.
        let mut places = (0..head.parts).map(|index| head.start + HEAD + index * 8);
        let found = places.find(|&at| self.word(at).is_some_and(|offset| self.is_string(offset, name.as_bytes())))?;
        self.word(found + 4)
    }

    /// The string at an offset; empty when it lies outside.
    pub fn string(&self, offset: u32) -> &[u8] {
        let tail = self.strings_from(offset);
        &tail[..tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len())]
    }

    fn head_at(&self, start: usize) -> Option<Head> {
        let info = self.word(start + 4)?;
        Some(Head {
            // BTF_INFO_KIND, _VLEN and _KFLAG.
            kind: Kind::from_number(info >> 24 & 0x1f)?,
            start,
            name: self.word(start)?,
            parts: (info & 0xffff) as usize,
            flag: info >> 31 == 1,
            size_or_type: self.word(start + 8)?,
        })
    }

    pub(super) fn word(&self, at: usize) -> Option<u32> {
        Some(self.order.word(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn strings_from(&self, offset: u32) -> &[u8] {
        let (start, end) = self.strings;
        self.bytes.get(start + offset as usize..end).unwrap_or_default()
    }

    /// Whether this is the string at an offset.
    pub(crate) fn is_string(&self, offset: u32, text: &[u8]) -> bool {
        self.strings_from(offset).strip_prefix(text).is_some_and(|rest| rest.first() == Some(&0))
    }
}

#[cfg(test)]
mod tests {
    use byteorder::{BigEndian, ByteOrder, LittleEndian};

    use super::*;
    use crate::btf::{BtfBuilder, Linkage};

    fn sample<B: ByteOrder>() -> Vec<u8> {
        let mut builder = BtfBuilder::<B>::new();
        let int = builder.int("int", 4, true);
        let index = builder.int("__ARRAY_SIZE_TYPE__", 4, false);
        let array = builder.array(int, index, 6);
        builder.structure("pair", 24, &[("both", array, 0)]);
        let proto = builder.func_proto(int, &[("argument", int)]);
        builder.func("work", proto, Linkage::Global);
        builder.enumeration("colour", &[("RED", 0), ("BLUE", 7)]);
        builder.finish()
    }

    fn check(bytes: Vec<u8>) {
        let btf = Btf::parse(bytes).unwrap();
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
        assert_eq!(btf.array(btf.head(3).unwrap()), Some(Array { element: 1, count: 6 }));
        assert!(btf.is_string(btf.members(btf.head(4).unwrap()).next().unwrap().name, b"both"));
    }

    #[test]
    fn finds_types_by_kind_and_name_in_both_byte_orders() {
        check(sample::<LittleEndian>());
        check(sample::<BigEndian>());
    }

    #[test]
    fn any_cut_or_flipped_byte_is_an_error_or_another_type_but_no_panic() {
        let sample = sample::<LittleEndian>();
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
                        let Some(head) = btf.head(id) else { continue };
                        let _ = (btf.members(head).count(), btf.variables(head).count(), btf.array(head));
                    }
                    let _ = (btf.offset_of("pair", "both"), btf.enumerator("colour", "BLUE"));
                }
            }
        }
    }

    /// Without the last zero a name would have no end, and without the first one what has no name would have one.
    #[test]
    fn strings_begin_and_end_with_a_zero() {
        let sample = sample::<LittleEndian>();
        let strings = sample.len() - Btf::parse(sample.as_slice()).map(|btf| btf.strings.1 - btf.strings.0).unwrap();
        for at in [strings, sample.len() - 1] {
            let mut bytes = sample.clone();
            bytes[at] = b'x';
            let error = Btf::parse(bytes).unwrap_err().to_string();
            assert!(error.contains("its strings do not begin and end with a zero byte"), "{error}");
        }
        let mut none = sample[..strings].to_vec();
        none[20..24].fill(0);
        assert!(Btf::parse(none).is_err());
        let empty = <BtfBuilder>::new().finish();
        assert!(!Btf::parse(empty).unwrap().is_named(0));
    }

    #[test]
    fn without_types_nothing_is_found() {
        let none = Btf::default();
        assert_eq!((none.type_count(), none.struct_by_name("pair"), none.string(0)), (0, None, &[][..]));
    }
}
