//! Which sockets may be adopted, by their cgroup.

use std::collections::HashSet;
use std::path::Path;

use super::Adopting;
use crate::agent::error::Result;
use crate::syscall::cgroup::Cgroup;

/// The IDs of cgroups.
pub(super) struct Scope {
    /// To which the data plane is attached, and all inside them.
    attached: HashSet<u64>,
    opted_out: HashSet<u64>,
    trusted: HashSet<u64>,
}

impl Scope {
    /// As they are now. One that has been removed is in no list: its sockets stay as they are.
    pub(super) fn new(adopting: &Adopting<'_>) -> Result<Self> {
        Ok(Self {
            attached: with_inner(adopting.cgroups)?,
            opted_out: with_inner(adopting.opted_out)?,
            trusted: with_inner(adopting.trusted)?,
        })
    }

    /// Whether sockets of this cgroup are served.
    pub(super) fn holds(&self, cgroup: u64) -> bool {
        self.attached.contains(&cgroup) && !self.opted_out.contains(&cgroup)
    }

    /// Whether readers of this cgroup are trusted by name.
    pub(super) fn trusts(&self, cgroup: u64) -> bool {
        self.trusted.contains(&cgroup)
    }
}

/// The IDs of these cgroups, and of those inside them.
fn with_inner(cgroups: &[Cgroup]) -> Result<HashSet<u64>> {
    let mut ids = HashSet::new();
    for cgroup in cgroups {
        ids.insert(cgroup.id()?);
        add_inner(cgroup.path(), &mut ids);
    }
    Ok(ids)
}

fn add_inner(path: &Path, ids: &mut HashSet<u64>) {
    // One that goes meanwhile, or cannot be looked into, has no sockets that are adopted.
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if let Ok(cgroup) = Cgroup::open(&entry.path())
            && let Ok(id) = cgroup.id()
        {
            ids.insert(id);
            add_inner(&entry.path(), ids);
        }
    }
}
