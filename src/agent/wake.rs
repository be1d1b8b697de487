//! Waking readers for bytes that came by the stack while their sockets were in the sockhash.
//!
//! On some kernels FIONREAD does not show these bytes of a member. A reader that asks, and takes the answer for an order to
//! wait (nginx), has used up its event by then. Where readers are watched, such a pair leaves before a message takes the stack
//! (`gate::fionread`); where all are trusted, it is woken from here when its connection goes back to the stack.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::dataplane::{Config, Probation};
use crate::sockets;
use crate::syscall::{ForeignSocket, Map};

/// Between two looks: such a reader stands still for so long.
const INTERVAL: Duration = Duration::from_millis(1);

/// The sockets whose readers are woken, each by its process, its descriptor there, and its number.
#[derive(Debug, Default)]
pub(super) struct Waker(Vec<(u32, u32, u64)>);

impl Waker {
    /// Whether readers that ask are in the sockhash, with this configuration: where they are watched they leave by themselves.
    pub(super) fn is_needed(config: Config, watches: bool) -> bool {
        config.probation() == Probation::Outside && !watches
    }

    /// Of all members.
    pub(super) fn of_members(sockets: &Map) -> Self {
        let cookie = |key: &[u8]| Some(u64::from_ne_bytes(sockets.lookup(key).ok()??.try_into().ok()?));
        Self::of(&sockets.keys().flatten().filter_map(|key| cookie(&key)).collect())
    }

    /// Of the sockets with these cookies that a process has open. Without a look at them none is woken, and all but those
    /// that ask go on.
    pub(super) fn of(cookies: &HashSet<u64>) -> Self {
        if cookies.is_empty() {
            return Self::default();
        }
        let records = sockets::scan().unwrap_or_default();
        let ours = records.into_iter().filter(|record| cookies.contains(&record.cookie));
        Self(ours.map(|record| (record.pid, record.fd, record.cookie)).collect())
    }

    /// Wakes those that have something to read by the stack.
    ///
    /// Each time takes a descriptor of its own: one that is kept would keep a socket open that its program has closed.
    pub(super) fn wake(&self) {
        for (process, descriptor, cookie) in &self.0 {
            // One that has closed meanwhile has no reader.
            if let Ok(Some(socket)) = ForeignSocket::open(*process, *descriptor, *cookie)
                && socket.unread_memory().is_ok_and(|bytes| bytes != 0)
            {
                let _ = socket.wake_readers();
            }
        }
    }

    /// Lets this time pass, and wakes them meanwhile.
    pub(super) fn wake_for(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
            self.wake();
            sleep(if self.0.is_empty() { rest } else { INTERVAL });
        }
    }
}
