//! Programs a second of processor time at several lengths: the simulator, and in the same run the kernel's verifier on the same bytes.
//!
//! `cargo bench --bench verifier`. Without root the kernel's column says so instead of a number.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop at the line that failed")]

use std::hint::black_box;
use std::time::Duration;

use byteorder::NativeEndian;
use nix::time::{ClockId, clock_gettime};
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::syscall::{ProgSpec, Program, memlock};
use sidestep::uapi::ProgType;
use sidestep::verifier_sim::spec::{self, Options, ProgramSpec};
use sidestep::verifier_sim::verify;

/// Time for each measurement.
const LONG_ENOUGH: Duration = Duration::from_millis(800);

/// A program of `slots` slots: per round a context load, arithmetic, a branch, and a spill and fill.
fn program(slots: usize) -> Vec<Insn> {
    let insn = |code, dst, src, off, imm| Insn { code, dst, src, off, imm };
    let mut insns = vec![insn(op::ALU64 | op::MOV | op::X, 6, 1, 0, 0)];
    while insns.len() + 10 <= slots {
        insns.extend([
            insn(op::LDX | op::MEM | op::W, 2, 6, 16, 0),
            insn(op::ALU64 | op::ADD | op::K, 2, 0, 0, 4),
            insn(op::STX | op::MEM | op::DW, 10, 2, -8, 0),
            insn(op::JMP | op::JGT | op::K, 2, 0, 2, 100),
            insn(op::LDX | op::MEM | op::DW, 3, 10, -8, 0),
            insn(op::ALU | op::LSH | op::K, 3, 0, 0, 3),
            insn(op::LDX | op::MEM | op::W, 4, 6, 20, 0),
            insn(op::ALU64 | op::AND | op::K, 4, 0, 0, 255),
        ]);
    }
    while insns.len() + 2 < slots {
        insns.push(insn(op::ALU64 | op::MOV | op::K, 5, 0, 0, 7));
    }
    insns.push(insn(op::ALU64 | op::MOV | op::K, 0, 0, 0, 1));
    insns.push(insn(op::JMP | op::EXIT, 0, 0, 0, 0));
    insns
}

/// Processor time of this thread, in and out of the kernel: on a busy machine that is what a program costs.
fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// How often `work` runs in a second of processor time.
fn rate(mut work: impl FnMut()) -> f64 {
    let start = spent();
    let mut rounds = 0u32;
    loop {
        work();
        rounds += 1;
        let spent = spent() - start;
        if spent >= LONG_ENOUGH {
            return f64::from(rounds) / spent.as_secs_f64();
        }
    }
}

fn main() {
    let root = nix::unistd::geteuid().is_root();
    if root {
        memlock::raise_if_needed().unwrap();
    }
    println!("{:>8} {:>16} {:>22}", "slots", "simulator 1/s", "kernel load+free 1/s");
    // 24 is the median of the kernel's own tests of its verifier.
    for slots in [24, 200, 1000, 4000] {
        let insns = program(slots);
        let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.encode::<NativeEndian>()).collect();
        let program = ProgramSpec { prog_type: spec::ProgType::SK_MSG, insns, ..ProgramSpec::default() };
        assert!(verify(&program, &Options::default()).is_accept());
        let ours = rate(|| {
            black_box(verify(black_box(&program), &Options::default()));
        });
        let theirs = if root {
            let request = ProgSpec::new("bench", ProgType::SK_MSG, &bytes);
            format!("{:.0}", rate(|| drop(Program::load(&request).unwrap())))
        } else {
            "needs root".to_owned()
        };
        println!("{:>8} {ours:>16.0} {theirs:>22}", program.insns.len());
    }
}
