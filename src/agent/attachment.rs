//! Where the two programs hang, and whether they still do: the same questions whether pins or a process hold them.

use std::os::fd::AsFd;

use super::error::{Context, Result};
use super::problem::Problem;
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Link, LinkDetail, LinkInfo, Map, prog_query};
use crate::uapi::AttachType;

/// The sock_ops program's place on a cgroup.
pub(super) struct OnCgroup<'a> {
    /// What the link says.
    pub(super) link: &'a LinkInfo,
    /// The cgroup it was attached to.
    pub(super) cgroup_id: u64,
    /// The cgroup, where the caller has it open.
    pub(super) cgroup: Option<&'a Cgroup>,
}

impl OnCgroup<'_> {
    /// What is wrong, when the link should hold a program for which `is_own` is true.
    pub(super) fn problem(&self, is_own: impl FnOnce(u32) -> bool) -> Option<Problem> {
        let is_detached = matches!(self.link.detail, LinkDetail::Cgroup { cgroup_id: 0, .. });
        match self.exists() {
            // The kernel detaches the link of a removed cgroup when the last socket in it is gone.
            Some(false) => return Some(Problem::CgroupRemoved),
            None if is_detached => return Some(Problem::CgroupRemoved),
            Some(true) if is_detached => return Some(Problem::SockOpsDetached),
            _ => {}
        }
        (!is_own(self.link.prog_id)).then_some(Problem::SockOpsReplaced(self.link.prog_id))
    }

    /// Whether the cgroup exists; `None` when this process cannot ask.
    fn exists(&self) -> Option<bool> {
        match self.cgroup {
            Some(cgroup) => Some(cgroup.exists()),
            None => Cgroup::from_id(self.cgroup_id).ok().map(|cgroup| cgroup.is_some()),
        }
    }
}

/// What is wrong with the dispatcher's place on the sockhash; `link` where it has one.
pub(super) fn on_sockhash(sockets: &Map, dispatcher: u32, link: Option<&Link>) -> Result<Option<Problem>> {
    // A link shows that it was detached, but not what was attached since.
    if let Ok(ids) = prog_query(sockets.as_fd(), AttachType::SK_MSG_VERDICT) {
        return Ok(match ids.first() {
            None => Some(Problem::SkMsgDetached),
            Some(&id) => (id != dispatcher).then_some(Problem::SkMsgReplaced(id)),
        });
    }
    // Before 5.15 a socket map cannot be asked, and before 6.10 there is no link: then there is no way to know.
    let Some(link) = link else { return Ok(None) };
    let info = link.info().context("look at the sockhash link")?;
    let detached = matches!(info.detail, LinkDetail::Sockmap { map_id: 0, .. });
    Ok(detached.then_some(Problem::SkMsgDetached))
}
