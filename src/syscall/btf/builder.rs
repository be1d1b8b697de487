//! Making BTF: the few kinds that map types and program signatures need.

use super::kind::Kind;
use super::reader::{HEADER, MAGIC};

/// `BTF_INT_SIGNED` of `include/uapi/linux/btf.h`, in its place in the word after the head.
const INT_SIGNED: u32 = 1 << 24;
/// `BTF_FUNC_STATIC` and `BTF_FUNC_GLOBAL`.
const FUNC_GLOBAL: u32 = 1;

/// Collects types; each method gives the id of the new type. Ids start at 1; 0 is void.
#[derive(Clone, Debug)]
pub struct BtfBuilder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfBuilder {
    /// No types yet.
    pub fn new() -> Self {
        // The string at 0 is the empty one.
        Self { types: Vec::new(), strings: vec![0], count: 0 }
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

    /// An enum of 4 bytes; its parts are name and value.
    pub fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> = values.iter().flat_map(|&(part, value)| [self.string(part), value]).collect();
        self.add(name, Kind::Enum, values.len() as u32, 4, &words)
    }

    /// A function's signature; parameters are name and type.
    pub fn func_proto(&mut self, returns: u32, parameters: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> =
            parameters.iter().flat_map(|&(parameter, type_id)| [self.string(parameter), type_id]).collect();
        self.add("", Kind::FuncProto, parameters.len() as u32, returns, &words)
    }

    /// A global function with signature `proto`.
    pub fn func(&mut self, name: &str, proto: u32) -> u32 {
        self.add(name, Kind::Func, FUNC_GLOBAL, proto, &[])
    }

    /// Adds a string (such as a source line) and gives its offset.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    /// The binary form, in this machine's byte order.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.types.len() + self.strings.len());
        bytes.extend_from_slice(&MAGIC.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [HEADER as u32, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    fn add(&mut self, name: &str, kind: Kind, parts: u32, word: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind.number() << 24 | parts, word].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }
}
