//! Making BTF: the few kinds that maps and programs need.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use byteorder::{ByteOrder, NativeEndian};

use super::kind::Kind;
use super::{HEADER, MAGIC, VERSION};

/// `BTF_INT_SIGNED` of `include/uapi/linux/btf.h`, in its place in the word after the head.
const INT_SIGNED: u32 = 1 << 24;

/// Who may use a function or variable (`enum btf_func_linkage`, `BTF_VAR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Its own program only: the verifier follows each call.
    Static,
    /// Every program: the verifier checks it once, for any argument of its types.
    Global,
}

/// Collects types in the byte order `B`; each method gives the id of the new type. Ids start at 1; 0 is void.
#[derive(Clone, Debug)]
pub struct BtfBuilder<B = NativeEndian> {
    types: Vec<u8>,
    /// The id of the last type.
    count: u32,
    strings: Vec<u8>,
    /// Where each string is.
    known: BTreeMap<String, u32>,
    order: PhantomData<B>,
}

impl<B: ByteOrder> Default for BtfBuilder<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: ByteOrder> BtfBuilder<B> {
    /// No types yet.
    pub fn new() -> Self {
        // The string at 0 is the empty one: offset 0 means "no name".
        Self { types: Vec::new(), count: 0, strings: vec![0], known: BTreeMap::new(), order: PhantomData }
    }

    /// An integer of `bytes` bytes.
    pub fn int(&mut self, name: &str, bytes: u32, signed: bool) -> u32 {
        let sign = if signed { INT_SIGNED } else { 0 };
        self.add(name, Kind::Int, 0, bytes, &[sign | (bytes * 8)])
    }

    /// A pointer.
    pub fn pointer(&mut self, target: u32) -> u32 {
        self.add("", Kind::Ptr, 0, target, &[])
    }

    /// Another name for a type.
    pub fn typedef(&mut self, name: &str, target: u32) -> u32 {
        self.add(name, Kind::Typedef, 0, target, &[])
    }

    /// An array of `len` elements; `index` is some integer type.
    pub fn array(&mut self, element: u32, index: u32, len: u32) -> u32 {
        self.add("", Kind::Array, 0, 0, &[element, index, len])
    }

    /// A struct of `bytes` bytes; members are name, type and offset in bits.
    pub fn structure(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let words: Vec<u32> =
            members.iter().flat_map(|&(member, type_id, offset)| [self.string(member), type_id, offset]).collect();
        self.add(name, Kind::Struct, members.len() as u32, bytes, &words)
    }

    /// A struct with bit fields; members are name, type, offset in bits and width in bits (0 for whole types).
    pub fn bit_structure(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        let words: Vec<u32> = members
            .iter()
            .flat_map(|&(member, type_id, offset, bits)| [self.string(member), type_id, bits << 24 | offset])
            .collect();
        self.add(name, Kind::Struct, members.len() as u32 | 1 << 31, bytes, &words)
    }

    /// A union of `bytes` bytes; members are name and type.
    pub fn union(&mut self, name: &str, bytes: u32, members: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> = members.iter().flat_map(|&(member, type_id)| [self.string(member), type_id, 0]).collect();
        self.add(name, Kind::Union, members.len() as u32, bytes, &words)
    }

    /// A struct or union that is only declared.
    pub fn forward(&mut self, name: &str, is_union: bool) -> u32 {
        self.add(name, Kind::Fwd, u32::from(is_union) << 31, 0, &[])
    }

    /// A number with a point, of `bytes` bytes.
    pub fn float(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, Kind::Float, 0, bytes, &[])
    }

    /// An enum of 4 bytes; its parts are name and value.
    pub fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> = values.iter().flat_map(|&(part, value)| [self.string(part), value]).collect();
        self.add(name, Kind::Enum, values.len() as u32, 4, &words)
    }

    /// An enum of 8 bytes; its parts are name and value.
    pub fn wide_enumeration(&mut self, name: &str, values: &[(&str, u64)]) -> u32 {
        let words: Vec<u32> =
            values.iter().flat_map(|&(part, value)| [self.string(part), value as u32, (value >> 32) as u32]).collect();
        self.add(name, Kind::Enum64, values.len() as u32, 8, &words)
    }

    /// A function's signature; parameters are name and type.
    pub fn func_proto(&mut self, returns: u32, parameters: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> =
            parameters.iter().flat_map(|&(parameter, type_id)| [self.string(parameter), type_id]).collect();
        self.add("", Kind::FuncProto, parameters.len() as u32, returns, &words)
    }

    /// A function with signature `proto`.
    pub fn func(&mut self, name: &str, proto: u32, linkage: Linkage) -> u32 {
        self.add(name, Kind::Func, linkage as u32, proto, &[])
    }

    /// A tag of argument `index` of function `func`, or of a member of a structure.
    pub fn argument_tag(&mut self, tag: &str, func: u32, index: u32) -> u32 {
        self.add(tag, Kind::DeclTag, 0, func, &[index])
    }

    /// The type `target` with a tag.
    pub fn type_tag(&mut self, tag: &str, target: u32) -> u32 {
        self.add(tag, Kind::TypeTag, 0, target, &[])
    }

    /// A variable.
    pub fn variable(&mut self, name: &str, type_id: u32, linkage: Linkage) -> u32 {
        self.add(name, Kind::Var, 0, type_id, &[linkage as u32])
    }

    /// An ELF section of `bytes` bytes; its parts are variable, offset and size.
    pub fn section(&mut self, name: &str, bytes: u32, variables: &[(u32, u32, u32)]) -> u32 {
        let words: Vec<u32> = variables.iter().flat_map(|&(id, offset, size)| [id, offset, size]).collect();
        self.add(name, Kind::Datasec, variables.len() as u32, bytes, &words)
    }

    /// Adds a string (such as a source line), unless it is there, and gives its offset. A NUL would end it, so what
    /// follows one is left out.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return 0;
        }
        if let Some(offset) = self.known.get(text) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.into(), offset);
        offset
    }

    /// The binary form.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.types.len() + self.strings.len());
        let mut magic = [0; 2];
        B::write_u16(&mut magic, MAGIC);
        bytes.extend_from_slice(&magic);
        bytes.extend_from_slice(&[VERSION, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [HEADER as u32, 0, types, types, strings] {
            push::<B>(&mut bytes, word);
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    fn add(&mut self, name: &str, kind: Kind, parts: u32, word: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind.number() << 24 | parts, word].iter().chain(tail) {
            push::<B>(&mut self.types, *word);
        }
        self.count += 1;
        self.count
    }
}

fn push<B: ByteOrder>(out: &mut Vec<u8>, word: u32) {
    let mut bytes = [0; 4];
    B::write_u32(&mut bytes, word);
    out.extend(bytes);
}
