//! The kernel's verifier in user space: what would `BPF_PROG_LOAD` say?
//!
//! [`verify`] takes a [`spec::ProgramSpec`] and answers with a [`verdict::Verdict`]. Nothing here needs a kernel,
//! a privilege or a file.

pub mod elf;
pub mod interp;
pub mod spec;
pub mod verdict;

use spec::{Options, ProgType, ProgramSpec};
use verdict::{Unsupported, Verdict};

/// Judges `program` as the kernel named in `options` would. Never panics, and ends in bounded time and memory.
pub fn verify(program: &ProgramSpec, options: &Options) -> Verdict {
    let _ = options;
    let what = match program.prog_type {
        ProgType::SOCK_OPS | ProgType::SK_MSG => "the abstract interpreter is not part of this build".to_owned(),
        other => format!("programs of type {other} are not simulated"),
    };
    Verdict::Unsupported(Unsupported { insn: None, what })
}

/// Judges `program` like [`verify`] and also returns the log, in the kernel's text form, that led to the verdict.
pub fn verify_with_log(program: &ProgramSpec, options: &Options) -> (Verdict, String) {
    (verify(program, options), String::new())
}
