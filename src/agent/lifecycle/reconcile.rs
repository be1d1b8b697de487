//! Finding out what is attached, and completing or undoing what a crash has cut short.

use std::time::{Duration, Instant};

use super::generation::{Generation, present};
use super::{Instance, Steps};
use crate::agent::error::{Error, Result};
use crate::syscall::{Link, LinkDetail, LinkInfo, bpffs};

/// An instance at rest.
pub(super) struct Reconciled {
    /// The attached generation; none when nothing is attached.
    pub(super) live: Option<(Link, Generation)>,
    /// Sockets of older generations that hold unread bytes.
    pub(super) left: usize,
}

impl Instance {
    /// The link on the cgroup; none when it was never pinned, or its cgroup is gone, or it was detached.
    pub(super) fn attached_link(&self) -> Result<Option<(Link, LinkInfo)>> {
        let Some(link) = present(Link::from_pin(&self.link()))? else { return Ok(None) };
        let info = link.info()?;
        let dead = matches!(info.detail, LinkDetail::Cgroup { cgroup_id: 0, .. });
        Ok((!dead).then_some((link, info)))
    }

    /// Brings the instance to rest: one live generation or none, and the others gone or on their way out for at most
    /// `timeout`. The lock must be held.
    pub(super) fn reconcile(&self, timeout: Duration, abandon: bool, steps: Steps<'_>) -> Result<Reconciled> {
        // Nothing uses a generation before it has its name, or after it has lost it.
        for half in [self.staging_path(), self.retired_path()] {
            bpffs::remove_directory(&half)?;
        }
        let link = self.attached_link()?;
        if link.is_none() {
            bpffs::unpin(&self.link())?;
        }
        let deadline = Instant::now() + timeout;
        let (mut live, mut left) = (None, 0);
        for generation in self.generations()? {
            match &link {
                Some((_, info)) if generation.has_sock_ops(info.prog_id)? => {
                    generation.finish_upgrade(info.prog_id, steps)?;
                    // A detach that was cut short had turned it off.
                    generation.switch(true, false)?;
                    live = Some(generation);
                }
                _ => {
                    let rest = deadline.saturating_duration_since(Instant::now());
                    left += generation.retire(rest, abandon, steps)?;
                }
            }
        }
        match (link, live) {
            (Some((link, _)), Some(generation)) => Ok(Reconciled { live: Some((link, generation)), left }),
            (None, _) => Ok(Reconciled { live: None, left }),
            (Some((_, info)), None) => Err(Error::Conflict {
                what: format!(
                    "{} holds program {}, which is not sidestep's: another tool has replaced it",
                    self.link().display(),
                    info.prog_id
                ),
                remedy: "run `sidestep detach`, then attach again",
            }),
        }
    }
}
