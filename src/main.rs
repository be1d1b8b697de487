//! The `sidestep` command: see [`sidestep::cli`].

fn main() -> std::process::ExitCode {
    sidestep::cli::main()
}
