//! Which sockets may be adopted, by their cgroup.

use std::collections::HashSet;
use std::path::Path;

use super::Adopting;
use crate::agent::error::Result;
use crate::syscall::cgroup::{self, Cgroup};

/// The IDs of cgroups.
pub(super) struct CgroupSets {
    /// To which the data plane is attached, and all inside them.
    attached: HashSet<u64>,
    opted_out: HashSet<u64>,
    trusted: HashSet<u64>,
}

impl CgroupSets {
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

/// The cgroups with these IDs that are still there, as far as this process sees them.
pub(in crate::agent) fn by_ids(ids: impl IntoIterator<Item = u64>) -> Result<Vec<Cgroup>> {
    let (mut cgroups, mut unknown) = (Vec::new(), HashSet::new());
    for id in ids {
        match Cgroup::from_id(id) {
            Ok(cgroup) => cgroups.extend(cgroup),
            // Without CAP_DAC_READ_SEARCH.
            Err(_) => drop(unknown.insert(id)),
        }
    }
    if !unknown.is_empty()
        && let Some(root) = cgroup::find()?
    {
        search(&root, &mut unknown, &mut cgroups);
    }
    Ok(cgroups)
}

/// Looks for cgroups with these IDs in a directory and below.
fn search(path: &Path, wanted: &mut HashSet<u64>, found: &mut Vec<Cgroup>) {
    // What cannot be looked into is not found.
    if let Ok(cgroup) = Cgroup::open(path)
        && let Ok(id) = cgroup.id()
        && wanted.remove(&id)
    {
        found.push(cgroup);
    }
    if wanted.is_empty() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        search(&entry.path(), wanted, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_found_by_a_search() {
        let Some(root) = cgroup::find().unwrap() else {
            assert!(std::env::var_os("CI").is_none(), "NOT TESTED: cgroup2 is not mounted");
            return eprintln!("*** NOT TESTED: cgroup2 is not mounted ***");
        };
        let id = Cgroup::open(&root).unwrap().id().unwrap();
        let (mut wanted, mut found) = (HashSet::from([id]), Vec::new());
        search(&root, &mut wanted, &mut found);
        assert!(wanted.is_empty() && found.len() == 1);
        assert_eq!(found[0].path(), root.canonicalize().unwrap());
        let mut wanted = HashSet::from([u64::MAX]);
        search(&root, &mut wanted, &mut found);
        assert_eq!((wanted.len(), found.len()), (1, 1), "no cgroup has this ID");
    }
}
