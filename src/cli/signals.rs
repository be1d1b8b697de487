//! The signals that end a command which runs until it is asked to stop, or make it read its settings again.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::Error;

/// The signals that end the command. One that is ignored from the start, as SIGHUP is under nohup(1), does not.
pub(super) fn stop_signals() -> Result<SignalFd, Error> {
    signals(false)
}

/// The same, and SIGHUP in any case where it `reloads`.
pub(super) fn signals(reloads: bool) -> Result<SignalFd, Error> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    for signal in [Signal::SIGHUP, Signal::SIGQUIT] {
        // A blocked signal is delivered to a signalfd even when it is ignored (sig_ignored, kernel/signal.c).
        if !is_ignored(signal) || (reloads && signal == Signal::SIGHUP) {
            set.add(signal);
        }
    }
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| Error::Failed(format!("cannot wait for signals: {errno}")))
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the null pointer changes nothing, and the other one is to a live sigaction.
    let answer = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut action) };
    answer == 0 && action.sa_sigaction == libc::SIG_IGN
}
