//! The programs to judge: from an ELF object or a file of raw instructions.

use std::path::Path;

use byteorder::LittleEndian;

use crate::asm;
use crate::cli::Error;
use crate::verifier_sim::elf;
use crate::verifier_sim::spec::{ProgType, ProgramSpec};

/// Largest file that is read; the largest program the kernel takes has 8 MB, and debug information comes beside it.
const MAX_FILE: u64 = 64 << 20;

/// A program, or why there is none to judge.
pub(super) struct Candidate {
    /// Its name, and the section it came from.
    pub(super) name: String,
    /// The program.
    pub(super) spec: Result<ProgramSpec, String>,
}

/// Reads the programs in `file`. Raw instructions need `prog_type`; in an ELF object it replaces what sections say.
pub(super) fn read_file(file: &Path, prog_type: Option<ProgType>) -> Result<Vec<Candidate>, Error> {
    let failed = |what: String| Error::Failed(format!("cannot verify {}: {what}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(failed(format!("it is larger than {MAX_FILE} bytes")));
    }
    let data = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    if data.starts_with(b"\x7fELF") {
        return from_elf(&data, prog_type).map_err(|error| failed(error.to_string()));
    }
    let Some(prog_type) = prog_type else {
        return Err(failed(
            "it is no ELF object, and raw instructions need their program type; add --type sk_msg, for example".into(),
        ));
    };
    let insns = asm::decode_program::<LittleEndian>(&data).map_err(|error| failed(error.to_string()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let spec = ProgramSpec { name: name.clone(), prog_type, insns, ..ProgramSpec::default() };
    Ok(vec![Candidate { name, spec: Ok(spec) }])
}

fn from_elf(data: &[u8], prog_type: Option<ProgType>) -> Result<Vec<Candidate>, elf::ElfError> {
    let programs = elf::read(data, prog_type)?;
    Ok(programs
        .into_iter()
        .map(|program| Candidate {
            name: format!("{} (section {})", program.name, program.section),
            spec: program.spec.map_err(|error| error.to_string()),
        })
        .collect())
}
