//! The programs to judge: from an ELF object, from a file of raw instructions, or our own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use byteorder::LittleEndian;

use crate::agent::{program_specs, simulated_offsets, tracing_specs};
use crate::asm;
use crate::cli::bounded;
use crate::cli::error::Error;
use crate::dataplane::{
    Hooks, KernelField, KernelOffsets, Options, Pairing, Policy, Readers, Tier, TraceOffsets, Trust, TrustBy, Watch,
    build,
};
use crate::sockets::{self, SocketAccess, SocketOffsets};
use crate::uapi::AttachType;
use crate::verifier_sim::elf::{self, CoreRelocations};
use crate::verifier_sim::spec::{Kernel, ProgType, ProgramSpec};
use crate::verifier_sim::types::KernelTypes;

/// Why a program cannot be judged.
pub(super) enum Unreadable {
    /// Something is wrong with it.
    Faulty(String),
    /// It cannot be read without the types or the configuration of the kernel, which are not at hand.
    NeedsMore(String),
}

/// A program, or why there is none to judge.
pub(super) struct Candidate {
    /// The file that it came from, if it is not one of our own.
    pub(super) file: Option<PathBuf>,
    /// Its name, and the section it came from.
    pub(super) name: String,
    /// The program.
    pub(super) spec: Result<ProgramSpec, Unreadable>,
    /// What became of its CO-RE relocations.
    pub(super) relocations: CoreRelocations,
    /// What the program needs and since which kernel there is such a thing: older ones must refuse it.
    pub(super) needs: Option<(Kernel, &'static str)>,
}

impl Candidate {
    /// One without CO-RE relocations.
    fn plain(file: Option<&Path>, name: String, spec: ProgramSpec) -> Self {
        let relocations = CoreRelocations::default();
        Self { file: file.map(Path::to_owned), name, spec: Ok(spec), relocations, needs: None }
    }
}

/// The programs of every variant of our data plane.
pub(super) fn own() -> Result<Vec<Candidate>, Error> {
    let offsets = simulated_offsets().map_err(|field| {
        Error::Failed(format!("the simulated kernel has no field {field}; this is a bug, please report it"))
    })?;
    // These programs do not look where the fields lie that the others trace.
    let Ok(traced) = TraceOffsets::resolve(|_| Ok::<_, Infallible>(0));
    let mut candidates = Vec::new();
    for options in all_options(offsets, NO_FUNCTIONS, traced) {
        let name = name_of(&options);
        let plane = build(options).map_err(crate::agent::Error::from)?;
        for spec in program_specs(&plane).map_err(crate::agent::Error::from)? {
            // bpf_get_netns_cookie came to SOCK_OPS with 5.15, and to SK_MSG before. Programs that only mark do not call it.
            let by_namespace = plane.options.pairing == Pairing::FourTuple || plane.options.tier == Tier::Sticky;
            let needs = (by_namespace && spec.name == "sock_ops")
                .then_some((Kernel::V6_1, "needs bpf_get_netns_cookie, from Linux 5.15"));
            let name = format!("{} ({name})", spec.name);
            candidates.push(Candidate { needs, ..Candidate::plain(None, name, spec) });
        }
    }
    Ok(candidates)
}

/// Our tracing programs for the kernel with these types: the drain, what watches readers (every combination that is
/// attached on some kernel), and the iterator over sockets. Each differing program is there once.
pub(super) fn own_tracing(types: &KernelTypes) -> Result<Vec<Candidate>, Error> {
    let lacks =
        |field: &str| Error::Failed(format!("the kernel's types have no {field}; give those of a whole kernel"));
    let offset = |field: &KernelField| types.offset(field.structure, field.path).ok_or(field.path);
    let offsets = KernelOffsets::resolve(offset).map_err(lacks)?;
    let traced = TraceOffsets::resolve(offset).map_err(lacks)?;
    // As the agent does: Linux 5.19 and others have moved the arguments of tcp_bpf_recvmsg.
    let parameters = types.parameters("tcp_bpf_recvmsg").ok_or_else(|| lacks("tcp_bpf_recvmsg"))?;
    let flags = parameters.iter().position(|name| name == "flags").ok_or_else(|| lacks("flags of tcp_bpf_recvmsg"))?;
    let functions = Hooks::Functions { flags: flags as u8, arguments: parameters.len() as u8 };
    let mut candidates: Vec<Candidate> = Vec::new();
    for options in all_options(offsets, functions, traced) {
        let name = name_of(&options);
        let plane = build(options).map_err(crate::agent::Error::from)?;
        for spec in tracing_specs(&plane).map_err(crate::agent::Error::from)? {
            let is_there = candidates.iter().filter_map(|known| known.spec.as_ref().ok()).any(|known| {
                (&known.name, &known.attach_target, &known.insns, &known.maps)
                    == (&spec.name, &spec.attach_target, &spec.insns, &spec.maps)
            });
            if !is_there {
                let target = spec.attach_target.as_deref().unwrap_or_default();
                let name = format!("{} at {target} ({name})", spec.name);
                candidates.push(Candidate::plain(None, name, spec));
            }
        }
    }
    let offsets = SocketOffsets::resolve(offset).map_err(lacks)?;
    let ways = [(SocketAccess::Helper, "sockets"), (SocketAccess::SockFs, "sockets of Linux 5.10")];
    for (access, name) in ways {
        let program = sockets::program::build(&offsets, access).map_err(crate::agent::Error::from)?;
        let spec = ProgramSpec {
            name: name.into(),
            prog_type: ProgType::TRACING,
            expected_attach_type: AttachType::TRACE_ITER.number(),
            attach_target: Some("task_file".into()),
            insns: program.insns().to_vec(),
            ..ProgramSpec::default()
        };
        candidates.push(Candidate::plain(None, format!("{name} at task_file"), spec));
    }
    Ok(candidates)
}

/// Stands for functions where nothing depends on their arguments.
const NO_FUNCTIONS: Hooks = Hooks::Functions { flags: 0, arguments: 0 };

/// Every variant, each with every way in which `--trust` and the kernels let its readers have trust: blocking ones have it,
/// and the sticky tier does not watch.
fn all_options(offsets: KernelOffsets, functions: Hooks, traced: TraceOffsets) -> Vec<Options> {
    let watching = Watch::all(functions, traced).map(TrustBy::Watching);
    let ways: Vec<_> = [TrustBy::Default, TrustBy::Name].into_iter().chain(watching).collect();
    let mut all = Vec::new();
    for options in Options::all(offsets) {
        let is_possible = |by: &&TrustBy| match (options.tier, options.readers) {
            (Tier::Gated(_), Readers::NonBlocking) => true,
            (Tier::Gated(_), Readers::Any) => **by == TrustBy::Default,
            (Tier::Sticky, _) => !matches!(by, TrustBy::Watching(_)),
        };
        for by in ways.iter().filter(is_possible) {
            // A cgroup that is trusted by name has a program of its own.
            let trust = Trust { by: *by, cgroups: *by != TrustBy::Default, ..Trust::default() };
            all.push(Options { policy: Policy { trust, ..Policy::default() }, ..options.clone() });
        }
    }
    all
}

/// Tells the variants apart.
fn name_of(options: &Options) -> String {
    let trust = options.policy.trust.by.name();
    trust.map_or_else(|| options.to_string(), |trust| format!("{options}, trust {trust}"))
}

/// Reads the programs in `file`. Raw instructions need `prog_type`; in an ELF object it replaces what sections say. `running` has the
/// kernel's configuration for an object that asks for it, where none is given.
pub(super) fn read_file<'a>(
    file: &Path,
    prog_type: Option<ProgType>,
    target: elf::Target<'a>,
    running: impl FnOnce() -> Option<&'a elf::KernelConfig>,
) -> Result<Vec<Candidate>, Error> {
    let failed = |what: String| Error::Failed(format!("cannot verify {}: {what}", file.display()));
    let data = bounded::read(file).map_err(|error| failed(error.to_string()))?;
    if data.starts_with(b"\x7fELF") {
        return from_elf(file, &data, prog_type, (target, running)).map_err(|error| failed(error.to_string()));
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
    Ok(vec![Candidate::plain(Some(file), name, spec)])
}

fn from_elf<'a>(
    file: &Path,
    data: &[u8],
    prog_type: Option<ProgType>,
    (target, running): (elf::Target<'a>, impl FnOnce() -> Option<&'a elf::KernelConfig>),
) -> Result<Vec<Candidate>, elf::ElfError> {
    let mut programs = elf::read_on(data, prog_type, target)?;
    if programs.iter().any(|program| matches!(program.spec, Err(elf::ElfError::NeedsConfig(_))))
        && let Some(config) = running()
    {
        programs = elf::read_on(data, prog_type, elf::Target { config: Some(config), ..target })?;
    }
    Ok(programs
        .into_iter()
        .map(|program| Candidate {
            file: Some(file.to_owned()),
            // What does not print is escaped: the object may come from anywhere.
            name: format!("{} (section {})", program.name.escape_debug(), program.section.escape_debug()),
            spec: program.spec.map_err(|error| match error.needs_more() {
                true => Unreadable::NeedsMore(error.to_string()),
                false => Unreadable::Faulty(error.to_string()),
            }),
            relocations: program.relocations,
            needs: None,
        })
        .collect())
}
