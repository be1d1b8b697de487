//! What others have taken from a running data plane: its links, its programs, its cgroup.
//!
//! None of it loses a byte: connections stay in the sockhash or on the stack. But acceleration ends or fades, and
//! whoever runs it should know.

use std::os::fd::AsFd;

use super::error::{Context, Result};
use super::load::Loaded;
use crate::dataplane::MapRole;
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Link, LinkDetail, prog_query};
use crate::uapi::AttachType;

/// Something that is not as it was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// rmdir(2) was called on the cgroup.
    #[error(
        "the cgroup was removed, so no new connection can be accelerated; stop, and start on a cgroup that is there"
    )]
    CgroupRemoved,
    /// BPF_LINK_DETACH on the cgroup link.
    #[error(
        "somebody detached the sock_ops program from the cgroup: new connections stay plain TCP; start anew to attach it again"
    )]
    SockOpsDetached,
    /// BPF_LINK_UPDATE on the cgroup link.
    #[error(
        "somebody replaced the sock_ops program by program {0}: new connections stay plain TCP; start anew to attach ours"
    )]
    SockOpsReplaced(u32),
    /// BPF_LINK_DETACH or BPF_PROG_DETACH on the sockhash.
    #[error(
        "somebody detached the sk_msg program from the sockhash: new connections stay on the stack; start anew to attach it again"
    )]
    SkMsgDetached,
    /// BPF_LINK_UPDATE or BPF_PROG_ATTACH on the sockhash.
    #[error(
        "somebody replaced the sk_msg program by program {0}, which decides about new connections; start anew to attach ours"
    )]
    SkMsgReplaced(u32),
}

/// Looks at the cgroup and its link.
pub(super) fn of_sock_ops(loaded: &Loaded, cgroup: &Cgroup, link: &Link) -> Result<Option<Fault>> {
    if !cgroup.exists() {
        return Ok(Some(Fault::CgroupRemoved));
    }
    let info = link.info().context("look at the cgroup link")?;
    let detached = matches!(info.detail, LinkDetail::Cgroup { cgroup_id: 0, .. });
    let own = loaded.sock_ops.info().context("look at the sock_ops program")?.id;
    Ok(match info.prog_id {
        _ if detached => Some(Fault::SockOpsDetached),
        id if id != own => Some(Fault::SockOpsReplaced(id)),
        _ => None,
    })
}

/// Looks at the sockhash; `link` where it has one.
pub(super) fn of_sk_msg(loaded: &Loaded, link: Option<&Link>) -> Result<Option<Fault>> {
    let own = loaded.dispatcher.info().context("look at the sk_msg program")?.id;
    // A link tells that it was detached, but not of what was attached since.
    let map = loaded.map(MapRole::Sockets);
    if let Ok(ids) = prog_query(map.as_fd(), AttachType::SK_MSG_VERDICT) {
        return Ok(match ids.first() {
            None => Some(Fault::SkMsgDetached),
            Some(&id) => (id != own).then_some(Fault::SkMsgReplaced(id)),
        });
    }
    // Before 5.15 a socket map cannot be asked, and before 6.10 there is no link: then nobody can tell.
    let Some(link) = link else { return Ok(None) };
    let info = link.info().context("look at the sockhash link")?;
    let detached = matches!(info.detail, LinkDetail::Sockmap { map_id: 0, .. });
    Ok(detached.then_some(Fault::SkMsgDetached))
}
