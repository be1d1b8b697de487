//! `sidestep completions`: the completion script of a shell.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::CommandLine;
use super::error::Error;
use super::streams::Streams;

/// Print a shell's completion script
///
/// For bash: sidestep completions bash > /usr/share/bash-completion/completions/sidestep
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    // The generator panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "sidestep", &mut script);
    streams.out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    #[test]
    fn every_shell_has_a_script_that_knows_the_flags() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let mut out = Vec::new();
            let args = ["completions", shell].map(OsString::from).to_vec();
            crate::cli::dispatch(args, &mut &b""[..], &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            for word in ["exclude-cgroup", "detach", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
