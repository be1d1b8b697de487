//! The parts of an object file that matter: code with its functions and relocations, and the symbols they refer to.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use byteorder::NativeEndian;
use object::elf::{
    EM_BPF, ET_REL, RelocationType, SHF_EXECINSTR, STB_LOCAL, STT_FUNC, STT_SECTION, STV_HIDDEN, STV_INTERNAL,
};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, SectionFlags};
use object::{RelocationTarget, SectionIndex, SymbolFlags, SymbolIndex};

use super::core_relo::Relocated;
use super::externs::Symbols;
use super::kconfig::Kconfig;
use super::map::Made;
use super::{ElfError, externs};
use crate::asm::{self, Insn};
use crate::btf::Btf;
use crate::verifier_sim::byte_order::IS_BIG;
use crate::verifier_sim::types::{KernelTypes, ProgramTypes};

/// Where ELF keeps class and byte order in the identification, and what 64-bit objects of this machine's byte order have there.
const CLASS: (usize, u8) = (4, object::elf::ELFCLASS64.0);
const BYTE_ORDER: (usize, u8) = (5, if IS_BIG { object::elf::ELFDATA2MSB.0 } else { object::elf::ELFDATA2LSB.0 });

/// The licenses under which a program is compatible with the GPL (`license_is_gpl_compatible` of include/linux/license.h).
const GPL: [&str; 6] = ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// An executable section.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) name: String,
    pub(super) insns: Vec<Insn>,
    pub(super) functions: Vec<Function>,
    /// By byte offset in the section.
    pub(super) relocations: BTreeMap<u64, Relocation>,
}

/// A function: a range of slots in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) start: usize,
    pub(super) len: usize,
    global: bool,
    /// Others than this object do not see it.
    hidden: bool,
}

impl Function {
    /// Whether the kernel judges it alone: libbpf takes a hidden function for a static one.
    pub(super) fn is_judged_alone(&self) -> bool {
        self.global && !self.hidden
    }
}

/// A place in code that refers to a symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    pub(super) offset: u64,
    pub(super) kind: RelocationType,
    pub(super) symbol: Option<SymbolIndex>,
}

/// A symbol that a relocation refers to.
pub(super) struct Symbol {
    pub(super) name: String,
    /// Where it is defined; `None` for one that another object must define.
    pub(super) section: Option<SectionIndex>,
    /// Byte offset in that section.
    pub(super) offset: u64,
    /// Its size in bytes, when known.
    pub(super) size: u64,
    /// It stands for the whole section.
    pub(super) is_section: bool,
    /// It need not be defined anywhere.
    pub(super) is_weak: bool,
}

/// A parsed object file.
pub(super) struct Object<'a> {
    elf: ElfFile64<'a, Endianness>,
    code: BTreeMap<usize, Code>,
    pub(super) btf: Btf,
    /// What it wants from the kernel.
    pub(super) externs: Symbols,
    /// Variables that ask for the kernel's configuration.
    pub(super) kconfig: Kconfig,
    /// What need not be defined anywhere.
    pub(super) weak: BTreeSet<&'a [u8]>,
    /// The first symbol with a name at a place: (section, byte offset).
    places: BTreeMap<(usize, u64), SymbolIndex>,
    /// Where the first symbol of a section with this name is.
    addresses: BTreeMap<(usize, &'a [u8]), u64>,
    pub(super) made: RefCell<Made>,
    types: OnceCell<Arc<ProgramTypes>>,
    /// Whether the kernel keeps from its programs what only those under the GPL may use.
    pub(super) not_gpl: bool,
    /// Whether it says which function has which type (`.BTF.ext`).
    pub(super) describes_functions: bool,
    /// What became of its CO-RE relocations, which the code has had.
    pub(super) relocated: Relocated,
}

impl Code {
    /// The functions that can be loaded: the global ones, or the whole section when it has no function symbol.
    pub(super) fn entry_points(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| function.global)
    }
}

impl<'a> Object<'a> {
    /// Reads an object, and applies its CO-RE relocations by the kernel's `types`.
    pub(super) fn parse(data: &'a [u8], types: Option<&KernelTypes>) -> Result<Self, ElfError> {
        if !data.starts_with(&object::elf::ELFMAG) {
            return Err(ElfError::NotElf);
        }
        if data.get(CLASS.0) != Some(&CLASS.1) {
            return Err(ElfError::Class);
        }
        if data.get(BYTE_ORDER.0) != Some(&BYTE_ORDER.1) {
            return Err(ElfError::Endianness);
        }
        let elf = ElfFile64::<Endianness>::parse(data)?;
        let (header, endian) = (elf.elf_header(), elf.endian());
        match (header.e_type(endian), header.e_machine(endian)) {
            (_, machine) if machine != EM_BPF => return Err(ElfError::Machine(machine.0)),
            (file_type, _) if file_type != ET_REL => return Err(ElfError::Type(file_type.0)),
            _ => {}
        }
        let btf = match elf.section_by_name(".BTF") {
            Some(section) => Btf::parse(section.data()?)?,
            None => Btf::default(),
        };
        let mut code = BTreeMap::new();
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if !sh_flags.contains(SHF_EXECINSTR) || section.size() == 0 {
                continue;
            }
            code.insert(section.index().0, read_code(&elf, &section)?);
        }
        let (mut places, mut addresses, mut weak) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for symbol in elf.symbols() {
            if let (None, true, Ok(name)) = (symbol.section_index(), symbol.is_weak(), symbol.name_bytes()) {
                weak.insert(name);
            }
            let (Some(section), Ok(name)) = (symbol.section_index(), symbol.name_bytes()) else { continue };
            addresses.entry((section.0, name)).or_insert(symbol.address());
            if !name.is_empty() {
                places.entry((section.0, symbol.address())).or_insert(symbol.index());
            }
        }
        let license = elf.section_by_name("license").and_then(|section| section.data().ok()).unwrap_or_default();
        let license = license.split(|byte| *byte == 0).next().unwrap_or_default();
        let not_gpl = !GPL.iter().any(|known| known.as_bytes() == license);
        let ext = elf.section_by_name(".BTF.ext");
        let describes_functions = ext.is_some();
        // Without types the relocations mean nothing; libbpf ignores them then.
        let relocated = match ext.filter(|_| btf.type_count() > 0) {
            Some(ext) => {
                // Of several sections with one name, the loader finds the first.
                let mut sections = BTreeMap::new();
                for (&index, code) in &mut code {
                    sections.entry(code.name.clone()).or_insert((index, &mut code.insns));
                }
                Relocated::apply(ext.data()?, &btf, types, &mut sections)?
            }
            None => Relocated::default(),
        };
        let externs = externs::symbols(&btf);
        let kconfig = Kconfig::new(&btf);
        let made = RefCell::new(Made::new());
        let own = OnceCell::new();
        Ok(Self {
            elf,
            code,
            btf,
            externs,
            kconfig,
            weak,
            places,
            addresses,
            made,
            types: own,
            not_gpl,
            describes_functions,
            relocated,
        })
    }

    /// All sections that hold programs: every executable one but `.text`, which holds subprograms.
    pub(super) fn program_sections(&self) -> impl Iterator<Item = (SectionIndex, &Code)> {
        self.code.iter().filter(|(_, code)| code.name != ".text").map(|(&index, code)| (SectionIndex(index), code))
    }

    /// The code of a section, if it is executable.
    pub(super) fn code(&self, section: SectionIndex) -> Option<&Code> {
        self.code.get(&section.0)
    }

    /// A symbol by index.
    pub(super) fn symbol(&self, index: SymbolIndex) -> Option<Symbol> {
        let symbol = self.elf.symbol_by_index(index).ok()?;
        let is_section = matches!(symbol.flags(), SymbolFlags::Elf { st_info, .. } if st_info.st_type() == STT_SECTION);
        Some(Symbol {
            name: symbol.name().unwrap_or_default().to_owned(),
            section: symbol.section_index(),
            offset: symbol.address(),
            size: symbol.size(),
            is_section,
            is_weak: symbol.is_weak(),
        })
    }

    /// The BTF that its programs and maps are loaded with; `None` if it has none.
    pub(super) fn types(&self) -> Option<Arc<ProgramTypes>> {
        let make = || Arc::new(ProgramTypes::new(self.btf.clone()));
        (self.btf.type_count() > 0).then(|| Arc::clone(self.types.get_or_init(make)))
    }

    /// The named data symbol that begins at this place.
    pub(super) fn symbol_at(&self, section: SectionIndex, offset: u64) -> Option<Symbol> {
        self.symbol(*self.places.get(&(section.0, offset))?).filter(|symbol| !symbol.is_section)
    }

    /// Where in the section a variable begins.
    pub(super) fn place_of(&self, section: SectionIndex, variable: &[u8]) -> Option<u32> {
        u32::try_from(*self.addresses.get(&(section.0, variable))?).ok()
    }

    /// Name, size and, unless it has none in the file, contents of a section.
    pub(super) fn section(&self, index: SectionIndex) -> Result<(String, u64, Option<&'a [u8]>), ElfError> {
        let section = self.elf.section_by_index(index)?;
        let data = if section.kind() == object::SectionKind::UninitializedData { None } else { Some(section.data()?) };
        Ok((section.name()?.to_owned(), section.size(), data))
    }
}

type Section<'a, 'file> = object::read::elf::ElfSection64<'a, 'file, Endianness>;

fn read_code(elf: &ElfFile64<'_, Endianness>, section: &Section<'_, '_>) -> Result<Code, ElfError> {
    let name = section.name()?.to_owned();
    let bytes = section.data()?;
    let insns = asm::decode_program::<NativeEndian>(bytes)
        .map_err(|_| ElfError::SectionSize { section: name.clone(), size: bytes.len() as u64 })?;
    let mut functions = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
        let SymbolFlags::Elf { st_info, st_other, .. } = symbol.flags() else { continue };
        if st_info.st_type() != STT_FUNC {
            continue;
        }
        let function = symbol.name().unwrap_or_default().to_owned();
        let (offset, size) = (symbol.address(), symbol.size());
        let slot = Insn::SIZE as u64;
        let end = offset.checked_add(size).filter(|end| *end <= bytes.len() as u64);
        if end.is_none() || size == 0 || !offset.is_multiple_of(slot) || !size.is_multiple_of(slot) {
            return Err(ElfError::Function { function, section: name, offset, size });
        }
        let (start, len) = ((offset / slot) as usize, (size / slot) as usize);
        let hidden = matches!(st_other.visibility(), STV_HIDDEN | STV_INTERNAL);
        functions.push(Function { name: function, start, len, global: st_info.st_bind() != STB_LOCAL, hidden });
    }
    if functions.is_empty() {
        functions.push(Function { name: name.clone(), start: 0, len: insns.len(), global: true, hidden: false });
    }
    let mut relocations = BTreeMap::new();
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        let symbol = match relocation.target() {
            RelocationTarget::Symbol(symbol) => Some(symbol),
            _ => None,
        };
        relocations.insert(offset, Relocation { offset, kind: r_type, symbol });
    }
    Ok(Code { name, insns, functions, relocations })
}
