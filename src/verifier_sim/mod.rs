//! The kernel's verifier in user space: what would `BPF_PROG_LOAD` say?
//!
//! [`verify`] takes a [`spec::ProgramSpec`] and answers with a [`verdict::Verdict`]. Nothing here needs a kernel,
//! a privilege or a file.
//!
//! The walk follows kernel/bpf/verifier.c in structure, so that its verdicts follow too. The directories, from the bottom:
//!
//! - `byte_order`: the order of bytes in memory.
//! - `numbers`: what is known of a number (`bounds::Bounds`), how instructions change it and what a condition implies.
//! - `place`: the program's type, its attach type and the kernel.
//! - `state`: registers and stack slots at one instruction of one path.
//! - `program`: the program as a whole: encodings, maps, functions, control flow, liveness.
//! - `walk`: along every path; cuts those short that an earlier one covers (`prune`), and writes the log.
//! - `instructions`: arithmetic, jumps, memory, calls of functions.
//! - `helpers`: the helpers' signatures, and calls of them. `kfunc`: the same for the kernel's functions and variables.
//!
//! Beside them: [`elf`] reads object files, [`interp`] runs programs, [`kernel`] is a simulated kernel around them.

pub mod byte_order;
pub mod elf;
mod helpers;
mod instructions;
pub mod interp;
pub mod kernel;
mod kfunc;
mod load_flags;
mod numbers;
mod place;
mod program;
pub mod spec;
mod state;
mod stop;
pub mod types;
pub mod verdict;
mod walk;

use crate::asm::opcode as op;
use crate::uapi::AttachType;
use load_flags::{
    BPF_F_ANY_ALIGNMENT, BPF_F_SLEEPABLE, BPF_F_STRICT_ALIGNMENT, BPF_F_TEST_REG_INVARIANTS, BPF_F_TEST_RND_HI32,
    BPF_F_TEST_STATE_FREQ, BPF_F_XDP_DEV_BOUND_ONLY, BPF_F_XDP_HAS_FRAGS,
};
use spec::{LogLevel, MapSpec, Options, ProgType, ProgramSpec};
use stop::{Step, Stop, reject, unsupported};
use verdict::{Rejection, Stats, Unsupported, Verdict};
use walk::env::Env;

/// Slots that a program may have (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_SLOTS: usize = 1_000_000;

/// Instructions of the path that a rejection shows.
const PATH_SLICE: usize = 32;

/// Judges `program` as the kernel named in `options` would. Never panics, and ends in bounded time and memory.
/// [`untyped_maps`] tells what is assumed of its maps.
pub fn verify(program: &ProgramSpec, options: &Options) -> Verdict {
    run(program, options, false).0
}

/// Judges `program` like [`verify`] and also returns the log, in the kernel's text form, that led to the verdict.
pub fn verify_with_log(program: &ProgramSpec, options: &Options) -> (Verdict, String) {
    run(program, options, true)
}

/// The maps that the kernel does not make with their types, because it has no such fields in maps of this type. The verdict is that of
/// a program whose loader makes these maps without types then, as libbpf does. Another loader cannot load the program.
pub fn untyped_maps<'a>(program: &'a ProgramSpec, options: &Options) -> Vec<&'a MapSpec> {
    let maps = program::maps::collect(&program.maps, meanings(program, options));
    maps.into_iter().filter(|map| map.is_untyped).map(|map| map.spec).collect()
}

fn meanings<'a>(program: &'a ProgramSpec, options: &Options) -> program::record::Meanings<'a> {
    let kernel = options.types.filter(|_| options.kernel >= spec::Kernel::V6_12);
    program::record::Meanings { kernel, own: program.types.as_deref() }
}

fn run(program: &ProgramSpec, options: &Options, with_log: bool) -> (Verdict, String) {
    let meanings = meanings(program, options);
    let maps = program::maps::collect(&program.maps, meanings);
    let place = place::Place::of(program, options.kernel);
    let mut env = Env::new(place, program.prog_flags, &program.insns, maps, options);
    env.own = meanings.own;
    let objects = meanings.objects();
    env.refuses_types = objects.is_none();
    env.objects = objects.unwrap_or_default();
    if with_log || options.log == LogLevel::Full {
        env.log = Some(walk::log::Log::default());
    }
    let verdict = match check(&mut env, program) {
        Ok(stats) => Verdict::Accept(stats),
        Err(stop) => refusal(&env, program, stop),
    };
    if let Some(rejection) = verdict.rejection() {
        env.log_refusal(&rejection.rule);
    }
    env.log_summary();
    let text = env.log.take().map(walk::log::Log::into_text).unwrap_or_default();
    (verdict, text)
}

/// The whole of `BPF_PROG_LOAD`, as far as the program decides its outcome.
fn check<'a>(env: &mut Env<'a>, program: &'a ProgramSpec) -> Step<Stats> {
    check_request(env, program)?;
    if env.refuses_types && env.maps.iter().any(|map| !map.is_untyped && !map.spec.special.is_empty()) {
        // The loader goes on without types; then its maps have none either.
        unsupported!("the kernel refuses the program's BTF");
    }
    env.subprogs = program::find_subprogs(env.insns, env.kernel, env.types, program.not_gpl)?;
    env.log_functions();
    program::check_subprogs(env.insns, &mut env.subprogs)?;
    program::functions::describe(env.insns, &mut env.subprogs, &program.functions, env.kernel)?;
    env.functions = &program.functions;
    let mut loads = vec![None; env.insns.len()];
    for load in &program.map_loads {
        if let (Some(slot), true) = (loads.get_mut(load.insn), load.map < program.maps.len()) {
            *slot = Some(load.map as u32);
        }
    }
    program::resolve(env.insns, &env.maps, &mut env.aux, &loads, env.place, env.types)?;
    program::describe_helper_calls(env.insns, &mut env.aux);
    env.describe_kernel_calls();
    program::check_cfg(env.insns, &mut env.aux, env.kernel)?;
    program::liveness::compute(env.insns, &mut env.aux, env.place);
    env.log_liveness();
    if program.prog_flags & BPF_F_SLEEPABLE != 0 {
        let may_sleep = program.prog_type == ProgType::KPROBE
            || (program.prog_type == ProgType::TRACING && env.place.attach != AttachType::TRACE_RAW_TP);
        if may_sleep {
            unsupported!("programs that may sleep are not simulated");
        }
        reject!("Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable");
    }
    env.walk()?;
    env.walk_global_functions()?;
    let stack_depth = instructions::subprog::check_stack_depth(env.insns, &env.subprogs, env.place)?;
    env.check_addresses()?;
    check_variables(env)?;
    Ok(Stats {
        insns_processed: env.work.insns,
        states_kept: env.explored.kept(),
        paths_pruned: env.work.pruned,
        stack_depth,
    })
}

/// Whether the kernel knows the addresses of its variables depends on how it was built (`CONFIG_KALLSYMS_ALL`); those of its
/// functions it knows. So what is refused anyway is refused, and of nothing else it is said that it is accepted.
fn check_variables(env: &Env<'_>) -> Step {
    let mut loads = env.insns.iter().filter(|insn| program::is_load_imm64(insn) && insn.src == op::PSEUDO_BTF_ID);
    let types = env.types.filter(|_| env.kernel >= spec::Kernel::V6_12);
    let variable = loads.find(|insn| types.is_none_or(|types| !types.is_function(insn.imm as u32)));
    match variable {
        Some(insn) => unsupported!(
            "whether the kernel finds its variable {} depends on its configuration (CONFIG_KALLSYMS_ALL)",
            types.map_or_else(String::new, |types| String::from_utf8_lossy(types.name(insn.imm as u32)).into_owned())
        ),
        None => Ok(()),
    }
}

/// What `BPF_PROG_LOAD` checks before it looks at the instructions.
fn check_request(env: &mut Env<'_>, program: &ProgramSpec) -> Step {
    let mut flags =
        BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_RND_HI32 | BPF_F_TEST_STATE_FREQ | BPF_F_SLEEPABLE;
    if env.kernel >= spec::Kernel::V6_1 {
        flags |= BPF_F_XDP_HAS_FRAGS;
    }
    if env.kernel >= spec::Kernel::V6_12 {
        flags |= BPF_F_XDP_DEV_BOUND_ONLY | BPF_F_TEST_REG_INVARIANTS;
    }
    if program.prog_flags & !flags != 0 {
        reject!("prog_flags {:#x} has bits that this kernel does not know", program.prog_flags);
    }
    env.place.check(env.privilege)?;
    if program.insns.is_empty() || program.insns.len() > MAX_SLOTS {
        reject!("a program has 1 to {MAX_SLOTS} instructions, this one has {}", program.insns.len());
    }
    if program.prog_type == ProgType::TRACING {
        let types = env.kernel_types()?;
        let Some(target) = &program.attach_target else { reject!("Tracing programs must provide btf_id") };
        env.hook = Some(program::hook::Hook::find(types, env.place, target)?);
    }
    Ok(())
}

fn refusal(env: &Env<'_>, program: &ProgramSpec, stop: Stop) -> Verdict {
    let walked = !env.history.is_empty();
    let current = walked.then_some(env.at);
    let (insn, rule, named) = match stop {
        Stop::Unsupported(what) => return Verdict::Unsupported(Unsupported { insn: current, what }),
        Stop::RejectAt(at, rule) => (Some(at), rule, Vec::new()),
        Stop::Reject(rule) => {
            let named = if walked { Env::named_registers(&env.insns[env.at]) } else { Vec::new() };
            (current, rule, named)
        }
    };
    let registers = named.into_iter().map(|number| (number, env.describe(env.reg(number)))).collect();
    let before = env.history.len().saturating_sub(1);
    let path = env.history.insns().take(before).skip(before.saturating_sub(PATH_SLICE)).collect();
    let origin = insn.and_then(|at| program.origins.get(at).copied().flatten());
    Verdict::Reject(Box::new(Rejection { insn, rule, registers, path, origin }))
}
