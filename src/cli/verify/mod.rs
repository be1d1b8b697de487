//! `sidestep verify`: would the kernel load this program?

mod cpus;
mod json_lines;
mod report;
mod source;
mod types;

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, ValueExt};

use self::report::Judged;
use self::source::Candidate;
use super::{Error, Invocation};
use crate::verifier_sim::spec::{Kernel, LogLevel, Options, Privilege, ProgType};
use crate::verifier_sim::{verify, verify_with_log};

/// One line for the command table.
pub(super) const SUMMARY: &str = "say whether the kernel would load a program, and why not";

const HELP: &str = "\
usage: sidestep verify [FLAGS] [FILE...]
       sidestep verify [FLAGS] --json-lines < RECORDS

A FILE is an ELF object (clang -target bpf -c) or raw little-endian instructions, which need --type. Without a FILE it
judges our own sock_ops and sk_msg programs, in every variant.

  --kernel VERSION   the kernel whose rules apply: 5.10, 6.1, 6.12 or 6.18 (the default; our own programs: all four)
  --privilege WHO    full (the default), no-perfmon (CAP_BPF without CAP_PERFMON) or none
  --type TYPE        the program type, such as sk_msg or sock_ops; in an ELF object instead of what sections say
  --btf FILE         the types of that kernel, for programs that follow its structures or call its functions; by default
                     this machine's, if it runs that kernel
  --cpus N           possible CPUs of the machine that loads the program; this machine's number by default
  --explain          also print the path that led to a rejection, and the registers
  --log              also print the whole log, as the kernel's verifier writes it
  --json             print one JSON array with an object for each program
  --json-lines       judge one JSON record a line from standard input, and answer one line each

Exit status: 0 when every program is accepted (or is our own and refused by a kernel older than it needs), 1 when one
is not or cannot be read, 2 for wrong arguments. With --json-lines it is 0 once every record is answered.
";

#[derive(Default)]
struct Request {
    options: Options,
    kernel: Option<Kernel>,
    prog_type: Option<ProgType>,
    files: Vec<PathBuf>,
    explain: bool,
    log: bool,
    json: bool,
    json_lines: bool,
}

/// Runs the command.
pub(super) fn run(mut invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let mut request = Request::default();
    request.options.cpus = cpus::possible();
    while let Some(argument) = invocation.args.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => {
                invocation.out.write_all(HELP.as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("kernel") => request.kernel = Some(invocation.args.value()?.parse_with(str::parse::<Kernel>)?),
            Arg::Long("privilege") => request.options.privilege = invocation.args.value()?.parse_with(privilege)?,
            Arg::Long("type") => request.prog_type = Some(invocation.args.value()?.parse_with(prog_type)?),
            Arg::Long("btf") => {
                let file = PathBuf::from(invocation.args.value()?);
                let failed = |what| Error::Failed(format!("cannot read types from {}: {what}", file.display()));
                request.options.types = Some(types::read(&file).map_err(failed)?);
            }
            Arg::Long("cpus") => request.options.cpus = invocation.args.value()?.parse()?,
            Arg::Long("explain") => request.explain = true,
            Arg::Long("log") => request.log = true,
            Arg::Long("json") => request.json = true,
            Arg::Long("json-lines") => request.json_lines = true,
            Arg::Value(file) => request.files.push(file.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if request.json_lines {
        if !request.files.is_empty() || request.json || request.log || request.explain || request.prog_type.is_some() {
            return Err(Error::Usage(
                "--json-lines takes no FILE and of the flags only --kernel, --privilege, --btf and --cpus".into(),
            ));
        }
        let kernel = request.kernel.unwrap_or_default();
        let types = request.options.types.or_else(|| types::of_running(kernel));
        let options = Options { kernel, types, ..request.options };
        json_lines::run(invocation.input, invocation.out, &options)?;
        return Ok(ExitCode::SUCCESS);
    }
    if request.files.is_empty() && request.prog_type.is_some() {
        return Err(Error::Usage("--type goes with a FILE, and there is none".into()));
    }
    judge_all(&request, invocation.out)
}

fn privilege(name: &str) -> Result<Privilege, String> {
    match name {
        "full" => Ok(Privilege::Full),
        "no-perfmon" => Ok(Privilege::NoPerfmon),
        "none" => Ok(Privilege::None),
        _ => Err(format!("there is no privilege {name:?}; choose one of full, no-perfmon, none")),
    }
}

fn prog_type(name: &str) -> Result<ProgType, String> {
    ProgType::from_name(name).ok_or_else(|| format!("there is no program type {name:?}; sk_msg and sock_ops are two"))
}

fn judge_all(request: &Request, out: &mut dyn std::io::Write) -> Result<ExitCode, Error> {
    let (candidates, kernels) = if request.files.is_empty() {
        (source::own()?, Kernel::ALL.to_vec())
    } else {
        let mut candidates = Vec::new();
        for file in &request.files {
            candidates.extend(source::read_file(file, request.prog_type)?);
        }
        (candidates, vec![Kernel::default()])
    };
    let kernels = request.kernel.map_or(kernels, |kernel| vec![kernel]);
    let mut judged = Vec::new();
    // The types given, or for each kernel those of this machine if it is that one.
    let types: Vec<_> =
        kernels.iter().map(|kernel| request.options.types.or_else(|| types::of_running(*kernel))).collect();
    for candidate in &candidates {
        for (&kernel, &types) in kernels.iter().zip(&types) {
            judged.push(judge(candidate, Options { kernel, types, ..request.options }, request.log));
        }
    }
    if request.json {
        let all: Vec<_> = judged.iter().map(Judged::to_json).collect();
        serde_json::to_writer_pretty(&mut *out, &all).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        for program in &judged {
            program.write_text(out, request.explain)?;
        }
    }
    Ok(if judged.iter().all(Judged::as_wanted) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(candidate: &Candidate, options: Options, log: bool) -> Judged<'_> {
    let mut judged = Judged {
        name: &candidate.name,
        kernel: options.kernel,
        spec: candidate.spec.as_ref().map_err(String::as_str),
        lacking: candidate.needs.filter(|(since, _)| options.kernel < *since).map(|(_, what)| what),
        verdict: None,
        log: None,
    };
    if let Ok(spec) = &candidate.spec {
        if log {
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
        // Never accepted, whoever judges: r0 is not set.
        let (text, ok) = verify(&["--type", "sk_msg", "--kernel", "5.10", "--explain", file.path()]);
        assert!(!ok && text.contains(" on 5.10: "), "{text}");
        let (text, ok) = verify(&["--type", "sk_msg", "--json", file.path()]);
        assert!(!ok);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json[0]["prog_type"].as_str(), json[0]["kernel"].as_str()), (Some("sk_msg"), Some("6.18")));
        assert_ne!(json[0]["verdict"], "accept");
    }

    #[test]
    fn our_own_programs_are_judged_for_every_kernel() {
        let (text, ok) = verify(&[]);
        assert!(ok, "{text}");
        // Three programs of six variants on four kernels.
        assert_eq!(text.lines().count(), 3 * 6 * 4, "{text}");
        let refused: Vec<_> = text.lines().filter(|line| !line.contains(": accept (")).collect();
        assert_eq!(refused.len(), 3, "{text}");
        for line in refused {
            assert!(line.starts_with("sock_ops (four-tuple, ") && line.contains(" on 5.10: reject: "), "{line}");
            // The line of Rust that emitted the call.
            assert!(line.contains("bpf_get_netns_cookie") && line.contains("sock_ops.rs:"), "{line}");
            assert!(line.ends_with("; as it must: it needs bpf_get_netns_cookie, from Linux 5.15"), "{line}");
        }
    }

    #[test]
    fn flags_apply_to_our_own_programs() {
        let (text, ok) = verify(&["--kernel", "6.1"]);
        assert!(
            ok && text.lines().count() == 18 && text.lines().all(|line| line.contains(" on 6.1: accept")),
            "{text}"
        );
        let (text, ok) = verify(&["--kernel", "5.10", "--json"]);
        assert!(ok, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let refused = json.as_array().unwrap().iter().find(|program| program["verdict"] == "reject").unwrap();
        assert!(refused["origin"].as_str().unwrap().contains("sock_ops.rs:"), "{refused}");
        assert!(refused["lacking"].as_str().unwrap().contains("5.15"), "{refused}");
        assert!(json[0]["stats"]["insns_processed"].as_u64().unwrap() > 100, "{}", json[0]);
        let (text, ok) = verify(&["--kernel", "5.10", "--explain"]);
        assert!(ok && text.contains("  the path that led there:\n"), "{text}");
        let (text, ok) = verify(&["--kernel", "6.18", "--log"]);
        assert!(ok && text.contains("\n0: (bf) r6 = r1"), "{text}");
        // bpf_probe_read_kernel needs CAP_PERFMON.
        let (text, ok) = verify(&["--kernel", "6.18", "--privilege", "no-perfmon"]);
        assert!(!ok && text.contains("gated"), "{text}");
    }

    #[test]
    fn bad_files_and_arguments_are_one_sentence() {
        let short = Scratch::new("short", &[0x95, 0, 0]);
        let elf = Scratch::new("elf", b"\x7fELF\x02\x01\x01");
        let missing = Path::new(short.path()).with_extension("missing");
        for (args, part) in [
            (&["--type", "sk_msg", short.path()][..], "cannot verify"),
            (&[elf.path()], "the object is damaged"),
            (&[missing.to_str().unwrap()], "No such file"),
            (&["--type", "sk_msg"], "goes with a FILE"),
            (&["--kernel", "4.4", short.path()], "5.10, 6.1, 6.12, 6.18"),
            (&["--type", "nothing", short.path()], "there is no program type"),
            (&["--privilege", "nothing", short.path()], "there is no privilege"),
            (&["--json-lines", short.path()], "takes no FILE"),
            (&["--btf", short.path(), elf.path()], "it is no BTF"),
            (&["--nothing"], "--nothing"),
        ] {
            let (text, ok) = verify(args);
            assert!(!ok && text.contains(part) && !text.contains('\n'), "{args:?}: {text}");
        }
    }
}
