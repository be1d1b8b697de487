//! The programs to judge: from an ELF object, from a file of raw instructions, or our own.

use std::path::{Path, PathBuf};

use byteorder::LittleEndian;

use crate::agent::{program_specs, simulated_offsets};
use crate::asm;
use crate::cli::bounded;
use crate::cli::error::Error;
use crate::dataplane::{Options, Pairing, Tier, build};
use crate::verifier_sim::elf;
use crate::verifier_sim::spec::{Kernel, ProgType, ProgramSpec};

/// A program, or why there is none to judge.
pub(super) struct Candidate {
    /// The file that it came from, if it is not one of our own.
    pub(super) file: Option<PathBuf>,
    /// Its name, and the section it came from.
    pub(super) name: String,
    /// The program.
    pub(super) spec: Result<ProgramSpec, String>,
    /// What the program needs and since which kernel there is such a thing: older ones must refuse it.
    pub(super) needs: Option<(Kernel, &'static str)>,
}

/// The programs of every variant of our data plane.
pub(super) fn own() -> Result<Vec<Candidate>, Error> {
    let offsets = simulated_offsets().map_err(|field| {
        Error::Failed(format!("the simulated kernel has no field {field}; this is a bug, please report it"))
    })?;
    let mut candidates = Vec::new();
    for options in Options::all(offsets) {
        let name = options.to_string();
        let plane = build(options).map_err(crate::agent::Error::from)?;
        for spec in program_specs(&plane).map_err(crate::agent::Error::from)? {
            // bpf_get_netns_cookie came to SOCK_OPS with 5.15, and to SK_MSG before.
            let by_namespace = plane.options.pairing == Pairing::FourTuple || plane.options.tier == Tier::Sticky;
            let needs = (by_namespace && spec.prog_type == ProgType::SOCK_OPS)
                .then_some((Kernel::V6_1, "needs bpf_get_netns_cookie, from Linux 5.15"));
            candidates.push(Candidate { file: None, name: format!("{} ({name})", spec.name), spec: Ok(spec), needs });
        }
    }
    Ok(candidates)
}

/// Reads the programs in `file`. Raw instructions need `prog_type`; in an ELF object it replaces what sections say.
pub(super) fn read_file(file: &Path, prog_type: Option<ProgType>) -> Result<Vec<Candidate>, Error> {
    let failed = |what: String| Error::Failed(format!("cannot verify {}: {what}", file.display()));
    let data = bounded::read(file).map_err(|error| failed(error.to_string()))?;
    if data.starts_with(b"\x7fELF") {
        return from_elf(file, &data, prog_type).map_err(|error| failed(error.to_string()));
    }
    let Some(prog_type) = prog_type else {
        return Err(failed(
            "it is not an ELF object, and raw instructions need their program type; add --type sk_msg, for example"
                .into(),
        ));
    };
    let insns = asm::decode_program::<LittleEndian>(&data).map_err(|error| failed(error.to_string()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let spec = ProgramSpec { name: name.clone(), prog_type, insns, ..ProgramSpec::default() };
    Ok(vec![Candidate { file: Some(file.to_owned()), name, spec: Ok(spec), needs: None }])
}

fn from_elf(file: &Path, data: &[u8], prog_type: Option<ProgType>) -> Result<Vec<Candidate>, elf::ElfError> {
    let programs = elf::read(data, prog_type)?;
    Ok(programs
        .into_iter()
        .map(|program| Candidate {
            file: Some(file.to_owned()),
            name: format!("{} (section {})", program.name, program.section),
            spec: program.spec.map_err(|error| error.to_string()),
            needs: None,
        })
        .collect())
}
