//! `sidestep verify`: would the kernel load this program?

mod cpus;
mod gzip;
mod json_lines;
mod kconfig;
mod report;
mod sarif;
mod source;
mod types;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;

use self::report::Judged;
use self::source::{Candidate, Unreadable};
use super::error::Error;
use super::streams::{Streams, note};
use super::values::{number, one_of};
use crate::asm::Dialect;
use crate::verifier_sim::elf::{KernelConfig, Target};
use crate::verifier_sim::spec::{Kernel, LogLevel, Options, Privilege, ProgType};
use crate::verifier_sim::verdict::{Unsupported, Verdict};
use crate::verifier_sim::{untyped_maps, verify, verify_with_log};

const PRIVILEGES: [(&str, Privilege); 4] = [
    ("full", Privilege::Full),
    ("no-perfmon", Privilege::NoPerfmon),
    ("bpf", Privilege::BpfOnly),
    ("none", Privilege::None),
];

const FORMATS: [(&str, Format); 4] =
    [("text", Format::Text), ("json", Format::Json), ("github", Format::Github), ("sarif", Format::Sarif)];

/// How verdicts are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Text,
    Json,
    Github,
    Sarif,
}

/// Say whether the kernel would load a program, and why not
///
/// A FILE is an ELF object (clang -target bpf -c) or raw little-endian instructions, which need --type. Without a FILE,
/// the command judges our own programs, in every variant. Exit status: 0 when every program is accepted (or is our own
/// and refused by a kernel older than it needs), 1 when one is not or cannot be read, 2 for wrong arguments. With
/// --json-lines it is 0 once every record is answered.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// ELF objects or raw instructions
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The kernel whose rules apply [default: 6.18; for our own programs: all]
    #[arg(long, value_name = "VERSION", value_parser = one_of(Kernel::ALL.map(|kernel| (kernel.name(), kernel))))]
    kernel: Option<Kernel>,
    /// What the process that loads the program may do; no-perfmon is CAP_BPF and CAP_NET_ADMIN, bpf is CAP_BPF alone
    #[arg(long, value_name = "WHO", default_value = "full", value_parser = one_of(PRIVILEGES))]
    privilege: Privilege,
    /// The program type, such as sk_msg or sock_ops; replaces what the sections of an ELF object say
    #[arg(long = "type", value_name = "TYPE", value_parser = prog_type)]
    prog_type: Option<ProgType>,
    /// The types of that kernel, for programs that follow its structures or call its functions; by default this
    /// machine's, if it runs that kernel
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// The configuration of that kernel (/boot/config-*, /proc/config.gz), for programs that ask for it; by default this
    /// machine's, if it runs that kernel
    #[arg(long, value_name = "FILE", requires = "files")]
    kconfig: Option<PathBuf>,
    /// Possible CPUs of the machine that loads the program [default: this machine's number]
    #[arg(long, value_name = "N", value_parser = number::<u32, 1, MAX_CPUS>)]
    cpus: Option<u32>,
    /// Also print the path that led to a rejection, and the registers
    #[arg(long)]
    explain: bool,
    /// Also print the whole log, as the kernel's verifier writes it
    #[arg(long)]
    log: bool,
    /// How to print verdicts: a line for each program, one JSON array, or, for each program that is not accepted, a workflow
    /// command of GitHub Actions or a result of SARIF 2.1.0
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = one_of(FORMATS))]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Whose words print an instruction: kernel, as in the verifier's log, or llvm, as llvm-objdump prints them; the log is
    /// always the kernel's
    #[arg(long, value_name = "DIALECT", default_value = "kernel", value_parser = one_of(Dialect::ALL))]
    dialect: Dialect,
    /// Judge one JSON record a line from standard input, and answer one line each
    #[arg(long, conflicts_with_all = ["files", "format", "json", "log", "explain", "prog_type", "dialect"])]
    json_lines: bool,
}

/// Most CPUs that a kernel is built for (`CONFIG_NR_CPUS` with MAXSMP, arch/x86/Kconfig).
const MAX_CPUS: u64 = 8192;

/// What to judge by.
#[derive(Default)]
struct Request {
    options: Options,
    kernel: Option<Kernel>,
    prog_type: Option<ProgType>,
    /// The configuration that was given.
    config: Option<KernelConfig>,
    files: Vec<PathBuf>,
    explain: bool,
    log: bool,
    format: Format,
    dialect: Dialect,
}

/// Runs the command.
pub(super) fn run(args: Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let types = match &args.btf {
        Some(file) => {
            let failed = |what| Error::Failed(format!("cannot read types from {}: {what}", file.display()));
            Some(types::read(file).map_err(failed)?)
        }
        None => None,
    };
    let config = match &args.kconfig {
        Some(file) => {
            let failed = |what| Error::Failed(format!("cannot read a configuration from {}: {what}", file.display()));
            let config = kconfig::read(file).map_err(failed)?;
            if let Some(warning) = kconfig::warning(&config, args.kernel.unwrap_or_default()) {
                note(format_args!("sidestep: {}: {warning}", file.display()));
            }
            Some(config)
        }
        None => None,
    };
    let options = Options {
        privilege: args.privilege,
        types,
        cpus: args.cpus.unwrap_or_else(cpus::possible),
        ..Options::default()
    };
    if args.json_lines {
        let kernel = args.kernel.unwrap_or_default();
        let types = options.types.or_else(|| types::of_running(kernel));
        json_lines::run(streams.input, streams.out, &Options { kernel, types, ..options })?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.files.is_empty() && args.prog_type.is_some() {
        return Err(Error::Usage("--type goes with a FILE, and there is none".into()));
    }
    let Args { kernel, prog_type, files, explain, log, json, format, dialect, .. } = args;
    let format = if json { Format::Json } else { format };
    judge_all(&Request { options, kernel, prog_type, config, files, explain, log, format, dialect }, streams.out)
}

fn prog_type(name: &str) -> Result<ProgType, String> {
    ProgType::from_name(name).ok_or_else(|| format!("there is no program type {name:?}; sk_msg and sock_ops are two"))
}

fn judge_all(request: &Request, out: &mut dyn std::io::Write) -> Result<ExitCode, Error> {
    let own = request.files.is_empty();
    let kernels = if own { Kernel::ALL.to_vec() } else { vec![Kernel::default()] };
    let kernels = request.kernel.map_or(kernels, |kernel| vec![kernel]);
    // The types given, or for each kernel those of this machine if it is that one.
    let types: Vec<_> =
        kernels.iter().map(|kernel| request.options.types.or_else(|| types::of_running(*kernel))).collect();
    let mut candidates = if own { source::own()? } else { Vec::new() };
    // Files are judged for one kernel.
    let kernel = kernels.first().copied().unwrap_or_default();
    let target = Target { types: types.first().copied().flatten(), config: request.config.as_ref(), kernel };
    let running = OnceCell::new();
    for file in &request.files {
        let running = || running.get_or_init(|| kconfig::of_running(kernel)).as_ref();
        candidates.extend(source::read_file(file, request.prog_type, target, running)?);
    }
    let mut judged = Vec::new();
    // Those of our programs that trace are made for the kernel's types.
    let traced = |kernel: Kernel| kernel >= Kernel::V6_12 && own;
    let tracing = kernels.iter().zip(&types).filter(|(kernel, _)| traced(**kernel));
    let tracing: Vec<_> = tracing
        .filter_map(|(kernel, types)| types.map(|types| source::own_tracing(types).map(|made| (*kernel, types, made))))
        .collect::<Result<_, _>>()?;
    for candidate in &candidates {
        for (&kernel, &types) in kernels.iter().zip(&types) {
            judged.push(judge(candidate, Options { kernel, types, ..request.options }, request));
        }
    }
    for (kernel, types, made) in &tracing {
        let options = Options { kernel: *kernel, types: Some(types), ..request.options };
        judged.extend(made.iter().map(|candidate| judge(candidate, options, request)));
    }
    match request.format {
        Format::Json => {
            let all: Vec<_> = judged.iter().map(Judged::to_json).collect();
            serde_json::to_writer_pretty(&mut *out, &all).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => judged.iter().try_for_each(|program| program.write_text(out, request.explain))?,
        Format::Github => judged.iter().try_for_each(|program| program.write_github(out))?,
        Format::Sarif => sarif::write(&judged, out)?,
    }
    Ok(if judged.iter().all(Judged::as_wanted) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge<'a>(candidate: &'a Candidate, options: Options, request: &Request) -> Judged<'a> {
    let mut judged = Judged {
        file: candidate.file.as_deref(),
        name: &candidate.name,
        kernel: options.kernel,
        spec: candidate.spec.as_ref().map_err(|unreadable| match unreadable {
            Unreadable::Faulty(why) | Unreadable::NeedsMore(why) => why.as_str(),
        }),
        relocations: &candidate.relocations,
        lacking: candidate.needs.filter(|(since, _)| options.kernel < *since).map(|(_, what)| what),
        untyped_maps: Vec::new(),
        verdict: None,
        log: None,
        dialect: request.dialect,
    };
    if let Err(Unreadable::NeedsMore(what)) = &candidate.spec {
        judged.verdict = Some(Verdict::Unsupported(Unsupported { insn: None, what: what.clone() }));
    }
    if let Ok(spec) = &candidate.spec {
        judged.untyped_maps = untyped_maps(spec, &options).into_iter().map(|map| map.name.as_str()).collect();
        if request.log {
            let (verdict, log) = verify_with_log(spec, &Options { log: LogLevel::Full, ..options });
            judged.verdict = Some(verdict);
            judged.log = Some(log);
        } else {
            judged.verdict = Some(verify(spec, &options));
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    fn verify(args: &[&str]) -> (String, bool) {
        let args = ["verify"].iter().chain(args).map(OsString::from).collect();
        let mut out = Vec::new();
        match crate::cli::dispatch(args, &mut &b""[..], &mut out) {
            Ok(code) => (String::from_utf8(out).unwrap(), code == std::process::ExitCode::SUCCESS),
            Err(error) => (error.to_string(), false),
        }
    }

    /// Our own programs: of 2 pairings, 9 variants with 3 programs each, and a fourth in the 6 in which cgroups are trusted by
    /// name.
    const OWN: usize = 2 * (9 * 3 + 6);
    /// How readers get trust, apart from the default.
    const WAYS: [&str; 5] =
        ["by name", "functions, inside", "trace points, inside", "trace points, outside", "mixed, outside"];

    /// A file that is gone when the test is over.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("sidestep-verify-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn raw_instructions_need_a_type() {
        let file = Scratch::new("raw", &[0x95, 0, 0, 0, 0, 0, 0, 0]);
        let (text, ok) = verify(&[file.path()]);
        assert!(!ok && text.contains("add --type sk_msg"), "{text}");
        // No kernel accepts it: r0 is not set.
        let (text, ok) = verify(&["--type", "sk_msg", "--kernel", "5.10", "--explain", file.path()]);
        assert!(!ok && text.contains(" on 5.10: "), "{text}");
        let (text, ok) = verify(&["--type", "sk_msg", "--json", file.path()]);
        assert!(!ok);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json[0]["prog_type"].as_str(), json[0]["kernel"].as_str()), (Some("sk_msg"), Some("6.18")));
        assert_ne!(json[0]["verdict"], "accept");
    }

    #[test]
    fn a_workflow_command_says_where_and_why() {
        let file = Scratch::new("annotated", &[0x95, 0, 0, 0, 0, 0, 0, 0]);
        let (text, ok) = verify(&["--type", "sk_msg", "--format", "github", file.path()]);
        assert!(!ok && text.lines().count() == 1, "{text}");
        assert!(text.starts_with(&format!("::error file={},title=", file.path())), "{text}");
        assert!(text.contains(" on Linux 6.18::") && text.contains("R0 !read_ok"), "{text}");
        let (text, ok) = verify(&["--format", "github", "--kernel", "6.18"]);
        assert!(ok && text.is_empty(), "{text}");
    }

    #[test]
    fn a_sarif_log_has_a_result_for_each_program_that_is_refused() {
        let file = Scratch::new("sarif x", &[0x95, 0, 0, 0, 0, 0, 0, 0]);
        let log = |args: &[&str]| {
            let (text, ok) = verify(&[args, &["--format", "sarif"]].concat());
            (serde_json::from_str::<serde_json::Value>(&text).unwrap(), ok)
        };
        let (refused, ok) = log(&["--type", "sk_msg", file.path()]);
        assert!(!ok && refused["version"] == "2.1.0", "{refused}");
        let run = &refused["runs"][0];
        let result = &run["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&"rejected".into(), &"error".into()), "{result}");
        assert!(result["message"]["text"].as_str().unwrap().contains("R0 !read_ok"), "{result}");
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, &file.path().replace(' ', "%20"));
        let known: Vec<_> = run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| &rule["id"]).collect();
        assert!(known.contains(&&result["ruleId"]), "{run}");
        // Our own: without the privilege, with the line of Rust.
        let (own, ok) = log(&["--kernel", "6.18", "--privilege", "no-perfmon"]);
        let place = &own["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert!(!ok && place["region"]["startLine"].as_u64().unwrap() > 0, "{place}");
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().starts_with("src/dataplane/"), "{place}");
        let (accepted, ok) = log(&["--kernel", "6.18"]);
        assert!(ok && accepted["runs"][0]["results"].as_array().unwrap().is_empty(), "{accepted}");
    }

    /// The object is of this machine's byte order, and so are the types.
    #[test]
    fn core_relocations_are_reported() {
        let order = if cfg!(target_endian = "big") { "eb" } else { "el" };
        let fixture = |name: &str, end: &str| format!("fixtures/core_relo/{name}.{order}.{end}");
        let (object, types) = (fixture("program", "o"), fixture("kernel", "btf"));
        let (text, ok) = verify(&["--btf", &types, &object]);
        assert!(!ok && text.contains("guarded (section socket) on 6.18: accept"), "{text}");
        assert!(text.contains("\n  12 CO-RE relocations are applied\n"), "{text}");
        let missing =
            "  the kernel's types do not have what instruction 3 asks for: field_byte_offset of struct moved.absent\n";
        assert!(text.contains(missing), "{text}");
        let (text, _) = verify(&["--btf", &types, "--json", &object]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let guarded = json.as_array().unwrap().iter().find(|program| program["name"] == "guarded (section socket)");
        let relocations = &guarded.unwrap()["core_relocations"];
        assert_eq!((&relocations["applied"], &relocations["unresolved"][0]["slot"]), (&1.into(), &3.into()), "{text}");
        // No types of 5.10 are at hand.
        let (text, ok) = verify(&["--kernel", "5.10", "--json", &object]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!ok && json[0].get("core_relocations").is_none(), "{text}");
        assert_eq!(json[0]["verdict"], "unsupported");
        assert!(json[0]["reason"].as_str().unwrap().ends_with("need the kernel's types: give --btf FILE"), "{text}");
        let (text, _) = verify(&["--kernel", "5.10", "--format", "github", &object]);
        assert!(text.starts_with("::warning file="), "{text}");
    }

    #[test]
    fn our_own_programs_are_judged_for_every_kernel() {
        let (text, ok) = verify(&[]);
        assert!(ok, "{text}");
        // Those that trace are judged where the types of that kernel are known.
        let traces =
            |line: &&str| ["drain", "receives", "splices", "sockets"].iter().any(|name| line.starts_with(name));
        let text: String = text.lines().filter(|line| !traces(line)).map(|line| format!("{line}\n")).collect();
        assert_eq!(text.lines().count(), OWN * 4, "{text}");
        for way in WAYS {
            assert!(
                text.contains(&format!("sequence, gated, readers nonblocking, trust {way}) on 6.18: accept")),
                "{way}"
            );
        }
        let refused: Vec<_> = text.lines().filter(|line| !line.contains(": accept (")).collect();
        // sock_ops of every variant that pairs by addresses (6 ways of trust for readers that do not block, 1 for others, 2
        // in the sticky tier), and of the sticky tier with sequence pairing.
        assert_eq!(refused.len(), 6 + 1 + 2 + 2, "{text}");
        for line in refused {
            assert!(line.starts_with("sock_ops (") && line.contains(" on 5.10: reject: "), "{line}");
            assert!(line.contains("four-tuple, ") || line.contains("sequence, sticky, "), "{line}");
            // The line of Rust that emitted the call.
            assert!(line.contains("bpf_get_netns_cookie") && line.contains("src/dataplane/pairing/"), "{line}");
            assert!(line.ends_with("; as it must: it needs bpf_get_netns_cookie, from Linux 5.15"), "{line}");
        }
    }

    #[test]
    fn flags_apply_to_our_own_programs() {
        let (text, ok) = verify(&["--kernel", "6.1"]);
        assert!(
            ok && text.lines().count() == OWN && text.lines().all(|line| line.contains(" on 6.1: accept")),
            "{text}"
        );
        let (text, ok) = verify(&["--kernel", "5.10", "--json"]);
        assert!(ok, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let refused = json.as_array().unwrap().iter().find(|program| program["verdict"] == "reject").unwrap();
        assert!(refused["origin"].as_str().unwrap().contains("src/dataplane/pairing/"), "{refused}");
        assert!(refused["lacking"].as_str().unwrap().contains("5.15"), "{refused}");
        assert!(json[0]["stats"]["insns_processed"].as_u64().unwrap() > 100, "{}", json[0]);
        let (text, ok) = verify(&["--kernel", "5.10", "--explain"]);
        assert!(ok && text.contains("  the path that led there:\n"), "{text}");
        assert!(text.contains(": (85) call bpf_get_netns_cookie#122\n"), "{text}");
        let (text, ok) = verify(&["--kernel", "5.10", "--explain", "--dialect", "llvm"]);
        assert!(ok && text.contains(": call 0x7a\n"), "{text}");
        let (text, ok) = verify(&["--kernel", "6.18", "--log"]);
        assert!(ok && text.contains("\n0: (bf) r6 = r1"), "{text}");
        // bpf_probe_read_kernel needs CAP_PERFMON.
        let (text, ok) = verify(&["--kernel", "6.18", "--privilege", "no-perfmon"]);
        assert!(!ok && text.contains("gated"), "{text}");
    }

    #[test]
    fn bad_files_and_arguments_are_one_sentence() {
        let short = Scratch::new("short", &[0x95, 0, 0]);
        let byte_order = if cfg!(target_endian = "big") { 2 } else { 1 };
        let elf = Scratch::new("elf", &[0x7f, b'E', b'L', b'F', 2, byte_order, 1]);
        let missing = Path::new(short.path()).with_extension("missing");
        for (args, part) in [
            (&["--type", "sk_msg", short.path()][..], "cannot verify"),
            (&[elf.path()], "the object is damaged"),
            (&[missing.to_str().unwrap()], "No such file"),
            (&["--type", "sk_msg"], "goes with a FILE"),
            (&["--kernel", "4.4", short.path()], "5.10 or 6.1 or 6.12 or 6.18"),
            (&["--type", "nothing", short.path()], "there is no program type"),
            (&["--privilege", "nothing", short.path()], "full or no-perfmon or bpf or none"),
            (&["--json-lines", short.path()], "--json-lines does not go with"),
            (&["--btf", short.path(), elf.path()], "is malformed"),
            (&["--kconfig", short.path(), elf.path()], "give the /proc/config.gz or /boot/config-*"),
            (&["--kconfig", short.path()], "FILE"),
            (&["--nothing"], "--nothing"),
        ] {
            let (text, ok) = verify(args);
            assert!(!ok && text.contains(part) && !text.contains('\n'), "{args:?}: {text}");
        }
    }
}
