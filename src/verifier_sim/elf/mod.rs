//! Programs and maps from an ELF object, as `clang -target bpf -c` writes it and libbpf loads it.
//!
//! A program is a global function in a section whose name says the program type. The functions it calls in `.text` or
//! beside it are linked behind it. Map references and global data become map loads. CO-RE relocations (`.BTF.ext`) are applied by
//! the kernel's types.

mod core_relo;
mod error;
mod externs;
mod functions;
mod kconfig;
mod link;
mod map;
mod object;
mod section;

pub use core_relo::{CoreRelocations, Unresolved};
pub use error::ElfError;
pub use kconfig::KernelConfig;

use self::link::Linked;
use self::object::Object;
use crate::verifier_sim::spec::{Kernel, ProgType, ProgramSpec};
use crate::verifier_sim::types::KernelTypes;

/// Slots that the programs of one object may have together; a crafted object could otherwise link the same code over
/// and over. Fields of its maps count like slots, and so do each 64 bytes of data. Programs that cannot be linked count, too.
const MAX_SLOTS_IN_ALL: usize = 4_000_000;

/// One program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElfProgram {
    /// The section it is in.
    pub section: String,
    /// The function's name.
    pub name: String,
    /// The linked program, or what is wrong with it.
    pub spec: Result<ProgramSpec, ElfError>,
    /// What became of its CO-RE relocations; nothing if there is no program.
    pub relocations: CoreRelocations,
}

/// Reads all programs of the object in `data`. One bad program does not hide the others.
///
/// Programs have the type that `prog_type` says, else the one that their section's name stands for.
pub fn read(data: &[u8], prog_type: Option<ProgType>) -> Result<Vec<ElfProgram>, ElfError> {
    read_for(data, prog_type, None)
}

/// The kernel that an object is read for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    /// Its types: they have its functions and variables, and the fields that CO-RE relocations ask for.
    pub types: Option<&'static KernelTypes>,
    /// Its configuration, for which variables in `.kconfig` ask.
    pub config: Option<&'a KernelConfig>,
    /// The kernel whose rules apply. Programs that ask for the kernel's version get this one if the configuration does not say it.
    pub kernel: Kernel,
}

/// Reads them like [`read`], for the kernel with these types.
pub fn read_for(
    data: &[u8],
    prog_type: Option<ProgType>,
    types: Option<&'static KernelTypes>,
) -> Result<Vec<ElfProgram>, ElfError> {
    read_on(data, prog_type, Target { types, ..Target::default() })
}

/// Reads them like [`read`], for this kernel. What needs more than is known of it is an error that says so
/// ([`ElfError::needs_more`]).
pub fn read_on(data: &[u8], prog_type: Option<ProgType>, target: Target<'_>) -> Result<Vec<ElfProgram>, ElfError> {
    let object = Object::parse(data, target.types)?;
    let mut programs = Vec::new();
    let mut slots = 0;
    for (section, code) in object.program_sections() {
        for function in code.entry_points() {
            let Linked { spec, relocations, size } = if slots > MAX_SLOTS_IN_ALL {
                let spec = Err(ElfError::TooLong(MAX_SLOTS_IN_ALL));
                Linked { spec, relocations: CoreRelocations::default(), size: 0 }
            } else {
                link::link(&object, (section, function), prog_type, target)
            };
            slots += size;
            programs.push(ElfProgram { section: code.name.clone(), name: function.name.clone(), spec, relocations });
        }
    }
    if programs.is_empty() { Err(ElfError::NoPrograms) } else { Ok(programs) }
}
