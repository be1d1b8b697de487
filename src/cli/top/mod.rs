//! `sidestep top`: the connections of this node, live.

mod activity;
mod keys;
mod screen;
mod sort;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cri::{self, CriArgs};
use super::error::Error;
use super::signals::stop_signals;
use super::states::States;
use super::streams::Streams;
use super::target::PinArgs;
use super::values::{MAX_PID, number, one_of};
use crate::observe::Observer;
use crate::pods::Watch;
use crate::syscall::btf::shared_vmlinux;
use activity::Looks;
use keys::{Key, keys};
use screen::{Screen, draw};
use sort::{SORTS, Sort};

/// Show the connections between processes of this node, live and sorted
///
/// Needs a terminal of at least 80 columns; `list --json` is for programs. PAST is the share of the bytes that went past
/// the stack, as far as pinned data planes tell. A wider terminal also shows the pods, or else the cgroups. Keys: s sorts by the next column, r reverses, the arrows scroll, q quits.
/// Changes nothing. Needs CAP_BPF and CAP_PERFMON, and Linux 5.10.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value = "2", value_parser = number::<u16, 1, 3600>)]
    interval: u16,
    /// Only connections with an end in this process
    #[arg(long, value_name = "PID", value_parser = number::<u32, 1, MAX_PID>)]
    pid: Option<u32>,
    /// The column to sort by
    #[arg(long, value_name = "COLUMN", default_value = "bytes", value_parser = one_of(SORTS))]
    sort: Sort,
    #[command(flatten)]
    cri: CriArgs,
    #[command(flatten)]
    pins: PinArgs,
}

/// How the user wants to see it.
struct View {
    sort: Sort,
    reverse: bool,
    /// The first row that is shown.
    first: usize,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Error::Usage("top needs a terminal for input and output; `sidestep list --json` does not".into()));
    }
    let signals = stop_signals()?;
    // Read once for the two that need them, until both have.
    let mut types = Some(shared_vmlinux());
    let observer = Observer::new()?;
    let interval = Duration::from_secs(args.interval.into());
    let mut view = View { sort: args.sort, reverse: false, first: 0 };
    let mut looks = Looks::with(args.cri.names()?);
    let pods = args.cri.watch()?;
    let stdin = std::io::stdin();
    let _screen = Screen::take()?;
    // The first look has nothing to compare with, so the second comes soon.
    let mut next = Instant::now() + Duration::from_millis(500);
    let mut last = Instant::now();
    let mut look = |looks: &mut Looks| -> Result<_, Error> {
        // While the runtime does not answer, the names that are known stay.
        if let Some(Ok(listing)) = pods.as_ref().and_then(Watch::take) {
            looks.pods = cri::names(&listing.pods);
        }
        let states = States::read(&args.pins);
        types = None;
        let mut observed = observer.look()?;
        if let Some(pid) = args.pid {
            observed.connections.local.retain(|one| [one.client.pid, one.server.pid].contains(&pid));
        }
        let activity = looks.next(&observed, &states, last.elapsed());
        last = Instant::now();
        Ok((activity, states.unseen))
    };
    let (mut activity, mut unseen) = look(&mut looks)?;
    loop {
        activity.sort(view.sort, view.reverse);
        view.first = view.first.min(activity.rows.len().saturating_sub(1));
        draw(streams.out, &activity, &view, unseen.as_deref())?;
        let wait = next.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Failed(format!("cannot wait for keys: {errno}"))),
        }
        let came = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !came[0].is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if !came[1].is_empty() {
            let mut bytes = [0; 64];
            let read = streams.input.read(&mut bytes)?;
            // The terminal is gone.
            if read == 0 || !view.obey(keys(&bytes[..read])) {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if Instant::now() >= next {
            (activity, unseen) = look(&mut looks)?;
            next = Instant::now() + interval;
        }
    }
}

impl View {
    /// Does what the keys ask for; says whether to go on.
    fn obey(&mut self, keys: Vec<Key>) -> bool {
        for key in keys {
            match key {
                Key::Quit => return false,
                Key::NextSort => self.sort = self.sort.next(),
                Key::Reverse => self.reverse = !self.reverse,
                Key::Scroll(by) => self.first = self.first.saturating_add_signed(by as isize),
            }
        }
        true
    }
}
