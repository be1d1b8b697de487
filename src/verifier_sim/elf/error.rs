//! Why an object file cannot be used.

use crate::verifier_sim::byte_order::IS_BIG;

/// The target of clang that has this machine's byte order.
const OWN_TARGET: &str = if IS_BIG { "bpfeb" } else { "bpfel" };

/// What is wrong with an object file, or with one program in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file does not begin as ELF files do.
    #[error("the file is not an ELF object: it does not begin with 7f 45 4c 46")]
    NotElf,
    /// A 32-bit object.
    #[error("the object is not a 64-bit one; compile it with clang -target bpf")]
    Class,
    /// An object for machines of the other byte order.
    #[error("the object has not the byte order of this machine; compile it with clang -target {}", OWN_TARGET)]
    Endianness,
    /// An object for a processor.
    #[error("the object is for machine {0}, not for BPF (247); compile it with clang -target bpf")]
    Machine(u16),
    /// An executable or a shared library.
    #[error("the file is of ELF type {0}, not a relocatable object (1); give the output of clang -c")]
    Type(u16),
    /// Tables that contradict each other or reach beyond the end of the file.
    #[error("the object is damaged: {0}")]
    Damaged(String),
    /// Nothing to judge.
    #[error("the object holds no program: it has no executable section with instructions")]
    NoPrograms,
    /// Instructions do not fill whole slots.
    #[error("section {section:?} is {size} bytes long, which is not a multiple of the 8 bytes of an instruction")]
    SectionSize {
        /// Name of the section.
        section: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A function symbol that does not lie on slots of its section.
    #[error("function {function:?} at byte {offset}, {size} bytes long, does not fit section {section:?}")]
    Function {
        /// Name of the function.
        function: String,
        /// Name of the section.
        section: String,
        /// Where the symbol says that it begins.
        offset: u64,
        /// How long the symbol says that it is.
        size: u64,
    },
    /// A section name that stands for no program type.
    #[error("section {0:?} names no program type; use libbpf's names, such as \"sockops\" or \"sk_msg\"")]
    SectionName(String),
    /// A relocation of a kind that BPF objects loaded by libbpf do not have.
    #[error(
        "relocation at byte {offset} of section {section:?} is of type {kind}, which is not simulated (only R_BPF_64_64 and R_BPF_64_32 are)"
    )]
    RelocationKind {
        /// Name of the section.
        section: String,
        /// Byte offset in the section.
        offset: u64,
        /// The type.
        kind: u32,
    },
    /// A relocation that does not lie on an instruction it can be applied to.
    #[error("relocation at byte {offset} of section {section:?} does not point to a {wanted}")]
    RelocationPlace {
        /// Name of the section.
        section: String,
        /// Byte offset in the section.
        offset: u64,
        /// What should be there.
        wanted: &'static str,
    },
    /// A symbol that a relocation refers to is missing from the symbol table or from its section.
    #[error(
        "relocation at byte {offset} of section {section:?} refers to {target}, which is neither a map, data nor a function of this object"
    )]
    RelocationTarget {
        /// Name of the section.
        section: String,
        /// Byte offset in the section.
        offset: u64,
        /// The symbol, described.
        target: String,
    },
    /// A kernel variable or function.
    #[error(
        "{0:?} is not defined in the object, and it is not a function or variable with a type in the kernel's BTF (--btf) either"
    )]
    Extern(String),
    /// One that can be known only with the kernel's types.
    #[error("{0:?} is not defined in the object and needs the kernel's types: give --btf FILE")]
    NeedsTypes(String),
    /// A variable that says how the kernel is configured, and that can have no value.
    #[error("{name:?} asks for the kernel's configuration: {why}")]
    Kconfig {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// One that can be known only with the kernel's configuration.
    #[error("{0:?} asks for the kernel's configuration: give --kconfig FILE")]
    NeedsConfig(String),
    /// A function or variable of the kernel that the object declares in another way.
    #[error(
        "{0:?} has another type in the kernel's BTF than in the object; declare it as that kernel does, or give the --btf FILE of the kernel that is meant"
    )]
    OtherType(String),
    /// A CO-RE relocation that can be applied only with the kernel's types.
    #[error("the object has CO-RE relocations ({0}), which need the kernel's types: give --btf FILE")]
    CoreNeedsTypes(String),
    /// A CO-RE relocation that the loader refuses.
    #[error("the CO-RE relocation at byte {offset} of section {section:?} ({what}) cannot be applied: {why}")]
    CoreRelocation {
        /// Name of the section.
        section: String,
        /// Byte offset in the section.
        offset: u32,
        /// What it asks for: its kind, and the type with the field or value.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A function that the kernel calls when the program throws an exception.
    #[error("{0:?} has a callback for exceptions, which are not simulated")]
    ExceptionCallback(String),
    /// A call leads out of its section or not to the start of a function.
    #[error("the call at instruction {insn} of section {section:?} does not lead to a function")]
    Call {
        /// Name of the section.
        section: String,
        /// Slot in the section.
        insn: usize,
    },
    /// More code than any kernel loads.
    #[error("the linked code is longer than {0} instructions, more than any kernel loads")]
    TooLong(usize),
    /// A map that cannot be understood.
    #[error("map {map:?}: {what}")]
    Map {
        /// Its name.
        map: String,
        /// What is wrong.
        what: String,
    },
    /// Type information that cannot be understood.
    #[error("the object's .BTF section cannot be used: {0}")]
    Btf(#[from] crate::btf::Error),
    /// What the loader is to do with the code by its type information.
    #[error(
        "the object's .BTF.ext section cannot be used: {0}; compile it again, or remove the section with llvm-strip -g"
    )]
    Ext(&'static str),
    /// Type information that refers to what is not there.
    #[error("the object's .BTF section cannot be used: {0}")]
    Types(&'static str),
}

impl ElfError {
    /// Whether nothing is wrong with the program, and it can be read with the kernel's types or its configuration.
    pub fn needs_more(&self) -> bool {
        matches!(self, Self::NeedsTypes(_) | Self::CoreNeedsTypes(_) | Self::NeedsConfig(_))
    }
}

impl From<object::Error> for ElfError {
    fn from(error: object::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}
