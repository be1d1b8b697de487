//! Where cgroups are on this machine, for those who look for one.

use crate::syscall::cgroup;

/// The second half of a sentence that says what is wrong with `--cgroup`.
pub(super) fn hint() -> String {
    match cgroup::find() {
        Ok(Some(root)) => format!("cgroup2 is mounted at {}: name a directory there", root.display()),
        _ => "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".into(),
    }
}
