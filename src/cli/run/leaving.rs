//! Pods that are not to be accelerated any more: their connections go back to the stack as their bytes are read, while the agent goes
//! on with everything else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::held::Held;
use super::pods::Accelerated;
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::streams::note;

/// Between two steps with a pod whose bytes are unread. A step loads a program, which takes milliseconds.
const STEP: Duration = Duration::from_millis(200);
/// The same when the time for it is over: its sockets use the stack.
const LATER: Duration = Duration::from_secs(5);

/// They, by the kernel's number of their cgroup.
#[derive(Default)]
pub(super) struct Leaving(BTreeMap<u64, One>);

struct One {
    pod: Accelerated,
    /// When it is detached from, whatever is unread; nothing when it has been.
    deadline: Option<Instant>,
    next: Instant,
}

impl Leaving {
    /// Lets a pod leave, within the time of `drain`. Of one that has ended, no reader is waited for.
    pub(super) fn begin(&mut self, pod: Accelerated, drain: Duration) {
        let now = Instant::now();
        let deadline = Some(if pod.cgroup.exists() { now + drain } else { now });
        self.0.insert(pod.id, One { pod, deadline, next: now });
    }

    /// The pod with this cgroup is accelerated again.
    pub(super) fn forget(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Those that are still in the data plane.
    pub(super) fn attached(&self) -> impl Iterator<Item = &Accelerated> {
        self.0.values().filter(|one| one.deadline.is_some()).map(|one| &one.pod)
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|one| one.next).min()
    }

    /// Takes a step with the pod that has waited longest, if one is due: with one at a time, so that the others wait for no more than
    /// that.
    pub(super) fn step(&mut self, held: &mut Held, log: &mut Log<'_>) -> Result<(), Error> {
        let due = self.0.iter_mut().min_by_key(|(_, one)| one.next);
        let Some((&id, one)) = due.filter(|(_, one)| one.next <= Instant::now()) else { return Ok(()) };
        let has_left = held.has_left(id);
        let is_gone = match one.deadline {
            None => has_left,
            Some(deadline) if has_left || Instant::now() >= deadline => {
                one.deadline = None;
                log.say("pod_removed", &format!("pod {}: plain TCP from now on", one.pod.name))?;
                log.out.flush()?;
                held.remove_cgroup(id).map(|left| left == 0).unwrap_or_else(|error| {
                    note(format_args!("sidestep: pod {}: {error}", one.pod.name));
                    true
                })
            }
            Some(_) => false,
        };
        if is_gone {
            self.0.remove(&id);
        } else {
            one.next = Instant::now() + if one.deadline.is_some() { STEP } else { LATER };
        }
        Ok(())
    }
}
