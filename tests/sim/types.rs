//! Programs of every simulated type, judged by the simulator and by the running kernel.

pub(crate) mod places;
pub(crate) mod program;
mod sweep;

use std::time::{Duration, Instant};

use sidestep::agent::{TierChoice, choose_tier, tracing_specs};
use sidestep::asm::opcode as op;
use sidestep::asm::{self, Insn};
use sidestep::btf::Kind;
use sidestep::dataplane::{Hooks, KernelField, KernelOffsets, Options, Tier, TraceOffsets, TrustBy, Watch, build};
use sidestep::sockets::{self, SocketAccess, SocketOffsets};
use sidestep::syscall::btf::vmlinux;
use sidestep::uapi::{AttachType, ProgType};
use sidestep::verifier_sim::spec::{self, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

use crate::agreement::options;
use crate::kernel::{Oracle, available, running};
use crate::random::sandbox::Random;
use crate::rules::kernel_types;
use places::{Place, places};
use program::{maps, random};

/// What a comparison has shown of one type.
#[derive(Default)]
struct Seen {
    programs: u32,
    accepted: u32,
    false_accepts: Vec<String>,
    false_rejects: Vec<String>,
    unsupported: u32,
}

impl Seen {
    fn judge(&mut self, oracle: &Oracle, program: &ProgramSpec, options: &spec::Options) {
        let ours = verify(program, options);
        let theirs = oracle.verdict(program);
        self.programs += 1;
        self.accepted += u32::from(theirs.is_ok());
        match (&ours, &theirs) {
            (Verdict::Unsupported(_), _) => self.unsupported += 1,
            (Verdict::Accept(_), Err(log)) => self.false_accepts.push(report(program, &ours, log)),
            (Verdict::Reject(_), Ok(())) => self.false_rejects.push(report(program, &ours, "accepted")),
            _ => {}
        }
    }
}

fn report(program: &ProgramSpec, ours: &Verdict, theirs: &str) -> String {
    let mut text = Vec::new();
    asm::write_text(&program.insns, &mut text).unwrap();
    let log: Vec<_> = theirs.lines().rev().take(6).collect();
    let log: Vec<_> = log.into_iter().rev().collect();
    format!("ours: {} ({})\n{}kernel: {}\n", ours.word(), ours.reason(), String::from_utf8_lossy(&text), log.join("\n"))
}

/// Settings for the kernel that runs here, with its types.
fn settings(test: &str) -> Option<spec::Options> {
    let kernel = running()?;
    Some(spec::Options { kernel, types: kernel_types(test), ..options() })
}

/// A few programs of each type; the long comparison is `type_table`.
#[test]
fn every_type_is_judged_as_the_kernel_judges_it() {
    let test = "every_type_is_judged_as_the_kernel_judges_it";
    let Some(settings) = available(test).then(|| settings(test)).flatten() else { return };
    let oracle = Oracle::new(maps);
    let mut numbers = Random::new(1);
    for place in places() {
        if !place.loads(&oracle) {
            continue;
        }
        let mut seen = Seen::default();
        for _ in 0..100 {
            seen.judge(&oracle, &random(&place, &mut numbers), &settings);
        }
        assert!(seen.accepted > 0, "{place}: no program is accepted");
        let differences = [seen.false_accepts, seen.false_rejects].concat();
        assert!(differences.is_empty(), "{place}: {}", differences.join("\n"));
    }
}

/// `SIM_SECONDS=60 SIM_SEED=7 SIM_TYPE=xdp,lwt cargo test --release --test sim -- --ignored --nocapture type_table`: a row of
/// Markdown for each type, after so many seconds for each. In a guest of the kernel matrix: that kernel's rows.
#[test]
#[ignore = "runs as long as SIM_SECONDS says, for each type"]
fn type_table() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let time = Duration::from_secs(number("SIM_SECONDS", 5));
    let only = std::env::var("SIM_TYPE").unwrap_or_default();
    assert!(nix::unistd::geteuid().is_root(), "it needs root");
    sidestep::syscall::memlock::raise_if_needed().unwrap();
    let settings = settings("type_table").expect("the simulator has no rules for this kernel");
    let oracle = Oracle::new(maps);
    let mut bad = 0;
    println!("| kernel | type | programs | accepted | false accepts | false rejects | not judged |");
    let wanted = |place: &Place| only.split(',').any(|only| place.to_string().contains(only));
    for place in places().into_iter().filter(wanted) {
        if !place.loads(&oracle) {
            println!("| {} | {place} | the kernel loads none here | | | | |", settings.kernel);
            continue;
        }
        let mut numbers = Random::new(number("SIM_SEED", 1));
        let (mut seen, end) = (Seen::default(), Instant::now() + time);
        while Instant::now() < end {
            seen.judge(&oracle, &random(&place, &mut numbers), &settings);
        }
        let (accepts, rejects) = (&seen.false_accepts, &seen.false_rejects);
        for difference in accepts.iter().take(3).chain(rejects.iter().take(3)) {
            eprintln!("--- {place}\n{difference}");
        }
        bad += accepts.len();
        println!(
            "| {} | {place} | {} | {} | {} | {} | {} |",
            settings.kernel,
            seen.programs,
            seen.accepted,
            accepts.len(),
            rejects.len(),
            seen.unsupported
        );
    }
    assert_eq!(bad, 0, "false accepts");
    println!("GUEST-RESULT: ok");
}

/// The programs of ours that trace: the kernel takes them, and the simulator knows it.
#[test]
fn our_tracing_programs_are_judged_as_the_kernel_judges_them() {
    let test = "our_tracing_programs_are_judged_as_the_kernel_judges_them";
    let Some(settings) = available(test).then(|| settings(test)).flatten() else { return };
    let Some(types) = settings.types else { return };
    let offset = |field: &KernelField| types.offset(field.structure, field.path).ok_or(field.path);
    let offsets = KernelOffsets::resolve(offset).unwrap();
    let traced = TraceOffsets::resolve(offset).unwrap();
    let parameters = types.parameters("tcp_bpf_recvmsg").unwrap();
    let flags = parameters.iter().position(|name| name == "flags").unwrap() as u8;
    let functions = Hooks::Functions { flags, arguments: parameters.len() as u8 };
    // As on a kernel without casts and with as little as there can be, and as on this one.
    let (Tier::Gated(own), _) = choose_tier(TierChoice::Gated).unwrap() else { panic!("asked for the gated tier") };
    let mut programs: Vec<ProgramSpec> = Vec::new();
    for options in [offsets, own].into_iter().flat_map(Options::all) {
        for watch in Watch::all(functions, traced) {
            let mut options = options.clone();
            options.policy.trust.by = TrustBy::Watching(watch);
            for program in tracing_specs(&build(options).unwrap()).unwrap() {
                let is_there = |known: &ProgramSpec| {
                    (&known.attach_target, &known.insns) == (&program.attach_target, &program.insns)
                };
                if !programs.iter().any(is_there) {
                    programs.push(program);
                }
            }
        }
    }
    for access in [SocketAccess::Helper, SocketAccess::SockFs] {
        let sockets = sockets::program::build(&SocketOffsets::resolve(offset).unwrap(), access).unwrap();
        programs.push(ProgramSpec {
            prog_type: ProgType::TRACING,
            expected_attach_type: AttachType::TRACE_ITER.number(),
            attach_target: Some("task_file".into()),
            insns: sockets.insns().to_vec(),
            ..ProgramSpec::default()
        });
    }
    assert!(["drain", "receives", "splices"].iter().all(|name| programs.iter().any(|program| program.name == *name)));
    for program in programs {
        let maps = program.maps.clone();
        let ours = verify(&program, &settings);
        let target = program.attach_target.as_deref().unwrap_or_default();
        assert!(ours.is_accept(), "{} at {target}: {}", program.name, ours.reason());
        let oracle = Oracle::new(|| maps.clone());
        // Some kernels let no program trace a function, whatever it does.
        let bare = ProgramSpec { insns: nothing(), map_loads: Vec::new(), origins: Vec::new(), ..program.clone() };
        if oracle.verdict(&bare).is_err() {
            println!("NOT COMPARED: this kernel lets no program of this type attach to {target}");
            assert!(is_function(&program), "{target}");
            continue;
        }
        assert_eq!(oracle.verdict(&program), Ok(()), "{} at {target}", program.name);
    }
}

/// A program that returns 0.
fn nothing() -> Vec<Insn> {
    let set = Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 0 };
    let exit = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };
    vec![set, exit]
}

/// Whether it is attached to a function of the kernel.
fn is_function(program: &ProgramSpec) -> bool {
    [AttachType::TRACE_FENTRY, AttachType::TRACE_FEXIT].iter().any(|at| at.number() == program.expected_attach_type)
}

/// Every argument of every trace point, read and looked behind, with a check and without.
#[test]
#[ignore = "some 20,000 programs; says for which trace points the simulator is wrong"]
fn trace_points() {
    assert!(nix::unistd::geteuid().is_root(), "it needs root");
    let settings = settings("trace_points").expect("the simulator has no rules for this kernel");
    let (oracle, btf) = (Oracle::new(Vec::new), vmlinux().unwrap());
    let names = (1..=btf.type_count()).filter(|id| btf.kind(*id) == Some(Kind::Typedef)).filter_map(|id| btf.name(id));
    let load = |dst, src, off| Insn { code: op::LDX | op::MEM | op::DW, dst, src, off, imm: 0 };
    let check = Insn { code: op::JMP | op::JEQ | op::K, dst: 2, src: 0, off: 1, imm: 0 };
    let set = Insn { code: op::ALU64 | op::MOV | op::K, dst: 0, src: 0, off: 0, imm: 0 };
    let exit = Insn { code: op::JMP | op::EXIT, dst: 0, src: 0, off: 0, imm: 0 };
    let mut seen = Seen::default();
    for name in names {
        let Some(point) = name.strip_prefix("btf_trace_") else { continue };
        for argument in 0..12 {
            let first = load(2, 1, argument * 8);
            let bodies = [vec![first], vec![first, load(3, 2, 0)], vec![first, check, load(3, 2, 0)]];
            for body in bodies {
                let program = ProgramSpec {
                    prog_type: ProgType::TRACING,
                    expected_attach_type: AttachType::TRACE_RAW_TP.number(),
                    attach_target: Some(point.to_owned()),
                    insns: [&body[..], &[set, exit]].concat(),
                    ..ProgramSpec::default()
                };
                let before = seen.false_accepts.len() + seen.false_rejects.len();
                seen.judge(&oracle, &program, &settings);
                let (accepts, rejects) = (&seen.false_accepts, &seen.false_rejects);
                if accepts.len() + rejects.len() > before {
                    let all = accepts.iter().chain(rejects).map(String::as_str).collect::<Vec<_>>();
                    eprintln!("{point}, argument {argument}:\n{}", all.last().unwrap_or(&""));
                }
            }
        }
    }
    let Seen { programs, accepted, false_accepts, false_rejects, unsupported } = seen;
    eprintln!("{programs} programs, {accepted} accepted, {unsupported} not judged");
    let differences = [false_accepts, false_rejects].concat();
    assert!(differences.is_empty(), "{} disagreements, named above", differences.len());
}
