//! The bpf file system, where pins live.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::error::{Error, Result};
use super::mountinfo::{Mount, mounts};

/// Where everybody looks for it.
pub const USUAL_POINT: &str = "/sys/fs/bpf";

/// Where a bpf file system is mounted: the usual point if it is one, else any other; `None` when there is none.
pub fn find() -> Result<Option<PathBuf>> {
    Ok(choose(&mounts()?))
}

fn choose(mounts: &[Mount]) -> Option<PathBuf> {
    let of_type = |mount: &&Mount| mount.fs_type == "bpf";
    let usual = mounts.iter().filter(of_type).find(|mount| mount.point == Path::new(USUAL_POINT));
    usual.or_else(|| mounts.iter().rev().find(of_type)).map(|mount| mount.point.clone())
}

/// Whether `path` lies on a bpf file system.
pub fn contains(path: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(path).map_err(|errno| Error::file("look at", path, errno))?;
    Ok(stat.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

/// Mounts a bpf file system on the folder `point`, for root alone (takes CAP_SYS_ADMIN).
pub fn mount_at(point: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    mount(Some("bpf"), point, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| Error::file("mount a bpf file system on", point, errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_point_wins_over_others() {
        let mount =
            |point: &str, fs_type: &str| Mount { root: "/".into(), point: point.into(), fs_type: fs_type.into() };
        let all = [mount(USUAL_POINT, "bpf"), mount("/run/bpf", "bpf"), mount("/x", "tmpfs")];
        assert_eq!(choose(&all), Some(USUAL_POINT.into()));
        assert_eq!(choose(&all[1..]), Some("/run/bpf".into()));
        assert_eq!(choose(&all[2..]), None);
    }
}
