//! A running agent: it prints the counters as they change, answers scrapers and reads its settings again, until a signal
//! comes or its output is closed.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::live::Live;
use super::pods::Pods;
use super::printer::Printer;
use super::returning::Returning;
use super::service::Service;
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::metrics::Exporter;

/// How often it looks whether an upgrade has brought other maps, at least; it also does so before it prints.
const TEND: Duration = Duration::from_secs(5);

/// A running agent.
pub(super) struct Agent<'a> {
    pub(super) live: Live<'a>,
    pub(super) service: Service,
    pub(super) returning: Returning,
}

impl Agent<'_> {
    /// Runs until a signal asks it to end, or the output is closed.
    pub(super) fn watch(
        &mut self,
        signals: &SignalFd,
        mut exporter: Option<&mut Exporter>,
        log: &mut Log<'_>,
    ) -> Result<(), Error> {
        let mut interval = self.live.interval();
        let mut next = interval.map(|interval| Instant::now() + interval);
        let mut tend = Instant::now() + TEND;
        let mut printer = Printer::default();
        let stdout = std::io::stdout();
        loop {
            let looks = self.returning.next();
            let leaving = self.live.pods.as_ref().and_then(Pods::next);
            let soonest =
                next.into_iter().chain([tend]).chain(self.service.next_sign()).chain(looks).chain(leaving).min();
            // poll(2) reports a pipe that has lost its reader without being asked to.
            let mut fds =
                vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
            let asked = exporter.as_ref().map(|exporter| PollFd::new(exporter.as_fd(), PollFlags::POLLIN));
            fds.extend(asked);
            fds.extend(self.live.pods.as_ref().and_then(Pods::fd).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let ready = poll(&mut fds, until(soonest));
            let came = |at: usize| fds.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
            if came(1).contains(PollFlags::POLLERR) {
                return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
            }
            match ready {
                Ok(_) if !came(0).is_empty() => {
                    if !(received(signals)? == Some(Signal::SIGHUP) && self.live.reads_settings_again()) {
                        return Ok(());
                    }
                    self.service.reloading();
                    let status = self.live.reload(log)?;
                    self.service.ready(&status);
                    self.returning.set(self.live.args.target.existing.are_wanted(), &self.live.held);
                    if self.live.interval() != interval {
                        interval = self.live.interval();
                        next = interval.map(|interval| Instant::now() + interval);
                    }
                }
                // The terminal of the output is gone.
                Ok(_) if !came(1).is_empty() => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(cannot_wait(errno)),
            }
            self.service.sign();
            if let Some(exporter) = exporter.as_deref_mut() {
                exporter.answer(|| self.live.held.reading(), || self.live.pods.as_ref().map(Pods::facts));
            }
            let has_new_pods = self.live.follow_pods(log)?;
            if has_new_pods {
                self.returning.hurry();
            }
            self.returning.look(&self.live.held, log)?;
            let prints = next.is_some_and(|due| Instant::now() >= due);
            if prints || Instant::now() >= tend {
                self.live.held.tend();
                tend = Instant::now() + TEND;
            }
            if prints {
                printer.print(&self.live.held, log)?;
                next = interval.map(|interval| Instant::now() + interval);
            }
        }
    }
}

/// The time until then; without one, for as long as it takes. Up to the next millisecond, so that the time has come when
/// poll(2) returns; 65,535 seconds are fewer than the `i32::MAX` milliseconds that a PollTimeout holds.
fn until(then: Option<Instant>) -> PollTimeout {
    let left = then.map(|then| then.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000));
    left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))
}

fn received(signals: &SignalFd) -> Result<Option<Signal>, Error> {
    let info = signals.read_signal().map_err(cannot_wait)?;
    Ok(info.and_then(|info| Signal::try_from(info.ssi_signo.cast_signed()).ok()))
}

fn cannot_wait(errno: Errno) -> Error {
    Error::Failed(format!("cannot wait for signals: {errno}"))
}
