//! The `sidestep` command: see [`sidestep::cli`].

#[cfg(all(target_env = "gnu", target_feature = "crt-static", panic = "abort"))]
mod stand_ins;

fn main() -> std::process::ExitCode {
    sidestep::cli::main()
}
