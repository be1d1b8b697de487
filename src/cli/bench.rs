//! `sidestep bench`: measures plain and accelerated TCP side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lexopt::{Arg, ValueExt};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::{Error, Invocation};
use crate::bench::{self, Host, Plan};

/// The line of `sidestep help`.
pub(super) const SUMMARY: &str = "measure plain and accelerated TCP side by side";

const HELP: &str = "\
usage: sidestep bench [FLAGS]

Measures ping-pong, streams, short connections and traffic that leaves the scope, in network namespaces of its own, by
plain TCP and by both pairings, in rounds that take turns; AF_UNIX and pipes show what is possible. Needs root. Nothing
stays behind. (Requests through real sidecars are measured by `cargo bench --bench mesh`, in the source tree.)

  --quick        a few seconds: that everything works, not how fast it is
  --rounds N     rounds of each variant, 6 at least (default 21)
  --round MS     milliseconds of CPU time of a round of plain TCP (default 20)
  --only WORD    only measurements whose name contains WORD; may be repeated, all must match
  --list         print the names of the measurements
  --json         print JSON instead of text
  --out DIR      also write text, JSON with every round, and plots into DIR
";

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Runs the command.
pub(super) fn run(invocation: Invocation<'_>) -> Result<ExitCode, Error> {
    let Invocation { mut args, out, .. } = invocation;
    let (mut quick, mut list, mut json, mut folder, mut only) = (false, false, false, None, Vec::new());
    let (mut rounds, mut round) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => {
                write!(out, "{HELP}")?;
                return Ok(ExitCode::SUCCESS);
            }
            Arg::Long("quick") => quick = true,
            Arg::Long("list") => list = true,
            Arg::Long("json") => json = true,
            Arg::Long("rounds") => rounds = Some(args.value()?.parse::<u16>()?),
            Arg::Long("round") => round = Some(args.value()?.parse::<u16>()?),
            Arg::Long("only") => only.push(args.value()?.string()?),
            Arg::Long("out") => folder = Some(PathBuf::from(args.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut plan = if quick { Plan::quick() } else { Plan::full() };
    plan.filter(&only);
    if let Some(rounds) = rounds {
        if rounds < 6 {
            return Err(Error::Usage("fewer than 6 rounds give no 95 % interval; use --rounds 6 or more".into()));
        }
        plan.rounds = rounds.into();
    }
    if let Some(millis) = round {
        plan.round = Duration::from_millis(u64::from(millis).max(1));
    }
    if list {
        for cell in &plan.cells {
            writeln!(out, "{}", cell.name())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    catch_signals()?;
    let host = Host { program: "/proc/self/exe".into(), interrupted: &INTERRUPTED };
    let report =
        bench::run(&plan, &host, &mut |line| eprintln!("{line}")).map_err(|error| Error::Failed(error.to_string()))?;
    if let Some(folder) = folder {
        bench::write_folder(&report, &folder).map_err(|error| Error::Failed(error.to_string()))?;
    }
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        bench::write_text(&report, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An interruption ends the current wait, and everything is undone on the way out.
fn catch_signals() -> Result<(), Error> {
    let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }
            .map_err(|errno| Error::Failed(format!("cannot catch {signal}: {errno}")))?;
    }
    Ok(())
}
