//! The little BTF that a program needs: a header, a few types, strings (`Documentation/bpf/btf.rst` in the kernel).
//!
//! ```text
//! header  magic:2 version:1 flags:1 hdr_len:4 type_off:4 type_len:4 str_off:4 str_len:4
//! type    name_off:4 info:4 size_or_type:4, then what the kind adds        info = kind << 24 | vlen
//! ```

use std::collections::BTreeMap;
use std::marker::PhantomData;

use byteorder::ByteOrder;

/// `BTF_MAGIC` and `BTF_VERSION` of `include/uapi/linux/btf.h`.
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Size of `struct btf_header`.
const HEADER: u32 = 24;

/// `BTF_KIND_*` of `include/uapi/linux/btf.h`.
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// `BTF_INT_SIGNED`, as it stands in the word after an integer type, with its width in bits.
const INT_SIGNED_32: u32 = 1 << 24 | 32;
/// Type 0.
const VOID: u32 = 0;

/// Collects types and strings.
pub(super) struct Writer<B> {
    types: Vec<u8>,
    /// Number of the last type.
    count: u32,
    strings: Vec<u8>,
    known: BTreeMap<String, u32>,
    order: PhantomData<B>,
}

impl<B: ByteOrder> Writer<B> {
    pub(super) fn new() -> Self {
        // The first string is empty: offset 0 means "no name".
        Self { types: Vec::new(), count: 0, strings: vec![0], known: BTreeMap::new(), order: PhantomData }
    }

    /// The offset of a string, which is kept once. A NUL would end it, so what follows one is left out.
    pub(super) fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return 0;
        }
        if let Some(offset) = self.known.get(text) {
            return *offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.into(), offset);
        offset
    }

    /// The prototype `int (void *ctx)`.
    pub(super) fn context_function(&mut self) -> u32 {
        let int = self.string("int");
        let int = self.add(int, KIND_INT, 0, 4, &[INT_SIGNED_32]);
        let pointer = self.add(0, KIND_PTR, 0, VOID, &[]);
        let argument = self.string("ctx");
        self.add(0, KIND_FUNC_PROTO, 1, int, &[argument, pointer])
    }

    /// A static function with this prototype. Static: the verifier checks a global one for any argument whatsoever.
    pub(super) fn function(&mut self, name: &str, proto: u32) -> u32 {
        let name = self.string(name);
        self.add(name, KIND_FUNC, 0, proto, &[])
    }

    fn add(&mut self, name: u32, kind: u32, vlen: u32, size_or_type: u32, more: &[u32]) -> u32 {
        for word in [name, kind << 24 | vlen, size_or_type].iter().chain(more) {
            push::<B>(&mut self.types, *word);
        }
        self.count += 1;
        self.count
    }

    /// The whole `.BTF` blob.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut magic = [0; 2];
        B::write_u16(&mut magic, MAGIC);
        let mut blob = vec![magic[0], magic[1], VERSION, 0];
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [HEADER, 0, types, types, strings] {
            push::<B>(&mut blob, word);
        }
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

/// Appends a word in the byte order `B`.
pub(super) fn push<B: ByteOrder>(out: &mut Vec<u8>, word: u32) {
    let mut bytes = [0; 4];
    B::write_u32(&mut bytes, word);
    out.extend(bytes);
}
