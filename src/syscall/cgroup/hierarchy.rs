//! Where cgroup2 is mounted. On hybrid systems it is beside the old hierarchies, so no path can be taken for granted.

use std::path::{Path, PathBuf};

use crate::syscall::error::Result;
use crate::syscall::mountinfo::{Mount, mounts};

/// The mount point of the cgroup2 hierarchy; `None` when it is not mounted. Of several the widest view wins: one that
/// shows the root, then the shortest path.
pub fn find() -> Result<Option<PathBuf>> {
    Ok(rank(&mounts()?).into_iter().next())
}

/// All mount points of cgroup2, the best first.
pub fn find_all() -> Result<Vec<PathBuf>> {
    Ok(rank(&mounts()?))
}

fn rank(mounts: &[Mount]) -> Vec<PathBuf> {
    let hidden = |index: usize, mount: &Mount| mounts[index + 1..].iter().any(|later| later.point == mount.point);
    let mut found: Vec<&Mount> = mounts
        .iter()
        .enumerate()
        .filter(|(index, mount)| mount.fs_type == "cgroup2" && !hidden(*index, mount))
        .map(|(_, mount)| mount)
        .collect();
    // Stable: of equals the older mount stays first.
    found.sort_by_key(|mount| (mount.root != Path::new("/"), mount.point.as_os_str().len()));
    found.into_iter().map(|mount| mount.point.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::mountinfo::parse_mountinfo;

    #[test]
    fn finds_unified_and_hybrid_hierarchies() {
        let unified = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(rank(&parse_mountinfo(unified)), [Path::new("/sys/fs/cgroup")]);
        let hybrid = b"\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(rank(&parse_mountinfo(hybrid)), [Path::new("/sys/fs/cgroup/unified")]);
        assert!(rank(&parse_mountinfo(b"23 1 0:21 / /proc rw - proc proc rw")).is_empty());
    }

    #[test]
    fn a_view_of_the_root_wins_and_hidden_mounts_do_not_count() {
        let container = b"\
30 23 0:26 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw
31 23 0:26 / /host/sys/fs/cgroup rw - cgroup2 cgroup rw";
        assert_eq!(rank(&parse_mountinfo(container)), [Path::new("/host/sys/fs/cgroup"), Path::new("/sys/fs/cgroup")]);
        let hidden = b"\
30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw
31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw";
        assert!(rank(&parse_mountinfo(hidden)).is_empty());
    }
}
