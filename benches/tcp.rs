//! `sidestep bench`, so that `cargo bench` prints every figure of docs/results/README.md: `cargo bench --bench tcp -- --help`.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // What cargo adds; `cargo test --benches`, which does not, only wants to know that it starts.
    let (added, flags): (Vec<_>, Vec<_>) = env::args_os().skip(1).partition(|argument| argument == "--bench");
    if added.is_empty() {
        return ExitCode::SUCCESS;
    }
    match Command::new(env!("CARGO_BIN_EXE_sidestep")).arg("bench").args(flags).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        // It has said why.
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tcp: sidestep does not start: {error}");
            ExitCode::FAILURE
        }
    }
}
