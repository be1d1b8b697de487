//! Signals that ask a command to end: noted here, acted on where it is safe.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::error::Error;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT only set the flag that is returned. System calls that wait end with EINTR.
pub(super) fn catch() -> Result<&'static AtomicBool, Error> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        // SAFETY: the handler does nothing but store to an atomic, which is safe at any point of the program.
        unsafe { sigaction(signal, &action) }
            .map_err(|error| Error::Failed(format!("cannot catch signals: {error}")))?;
    }
    Ok(&INTERRUPTED)
}
