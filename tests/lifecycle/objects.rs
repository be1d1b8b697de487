//! The kernel's objects by number: programs, maps, links.

use std::collections::BTreeSet;

use sidestep::agent::lifecycle::{InstanceStatus, State};
use sidestep::syscall::id;

use crate::support::wait::wait_for;

pub(crate) type Ids = BTreeSet<(&'static str, u32)>;

/// Waits until the kernel has none of these objects: it frees psocks, and with them programs, from a work queue.
pub(crate) fn all_gone(seen: &Ids) {
    wait_for(|| {
        let left: Ids = alive().intersection(seen).copied().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("still in the kernel: {left:?}")) }
    });
}

/// The numbers of every program, map and link there is.
pub(crate) fn alive() -> Ids {
    let kinds = [("program", id::Kind::Prog), ("map", id::Kind::Map), ("link", id::Kind::Link)];
    kinds.into_iter().flat_map(|(name, kind)| id::ids(kind).map(move |id| (name, id.unwrap()))).collect()
}

/// All objects of an instance.
pub(crate) fn objects(status: &InstanceStatus) -> Ids {
    let mut ids: Ids = status.link.iter().map(|id| ("link", *id)).collect();
    ids.extend(
        status.cgroups.iter().filter(|cgroup| cgroup.state == State::Attached).map(|cgroup| ("link", cgroup.link)),
    );
    for generation in &status.generations {
        ids.extend(generation.programs.iter().map(|object| ("program", object.id)));
        ids.extend(generation.maps.iter().map(|object| ("map", object.id)));
        ids.extend(generation.links.iter().map(|object| ("link", object.id)));
    }
    ids
}
