//! All commands and their arguments, in the order that the help shows them.

#[cfg(feature = "bench")]
use super::bench;
#[cfg(feature = "demo")]
use super::demo;
use super::{
    attach, cgroup, check, completions, config, detach, dump, exec, explain, list, man, metrics, reload, run, status,
    survey, top, upgrade, verify, watch,
};

/// Carries TCP data between local processes past the TCP/IP stack
#[derive(Debug, clap::Parser)]
#[command(
    name = "sidestep",
    version,
    arg_required_else_help = true,
    // As in most programs, the last of several equal flags counts.
    args_override_self = true,
    // Wide enough for a table, narrow enough to read.
    max_term_width = 100,
    after_help = AFTER_HELP
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Questions with the command for each, which the test of the mesh asks by these very lines; and the statuses that all commands
/// share.
const AFTER_HELP: &str = "\
Questions:
  How much of this node's TCP can be accelerated, and what would it save?
      sidestep survey --calibrate
  Which connections are accelerated?
      sidestep list --state in_socket_map
  Why are those of a process not? (`sidestep list` shows process IDs)
      sidestep explain --pid PID

Exit status: 0 when the command has done its work, 1 when it has not (a sentence on standard error says why), 2 when the \
arguments are wrong. `sidestep COMMAND --help` explains one command, and says what else its status means.";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Check(check::Args),
    Survey(survey::Args),
    Run(run::Args),
    Config(config::Args),
    Reload(reload::Args),
    Attach(attach::Args),
    Detach(detach::Args),
    Cgroup(cgroup::Args),
    Upgrade(upgrade::Args),
    Status(status::Args),
    List(list::Args),
    Explain(explain::Args),
    Top(top::Args),
    Watch(watch::Args),
    Metrics(metrics::Args),
    #[cfg(feature = "bench")]
    Bench(bench::Args),
    Dump(dump::Args),
    Exec(exec::Args),
    Verify(verify::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// Print the version
    #[command(hide = true)]
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::CommandLine::command().debug_assert();
    }

    #[test]
    fn questions_fit_into_80_columns() {
        let questions: Vec<_> = super::AFTER_HELP.lines().take_while(|line| !line.is_empty()).collect();
        assert!(questions.len() > 6 && questions.iter().all(|line| line.len() <= 80), "{questions:?}");
    }
}
