//! Where pins are.

use std::path::{Path, PathBuf};

use crate::agent::error::{Error, Result};
use crate::syscall::bpffs;

/// Below the bpf file system. The number changes when the arrangement of the folders does.
const FOLDER: &str = "sidestep/v1";

/// The folder of all instances.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// The pins below `bpffs`, a folder on a bpf file system, or below [`bpffs::USUAL_POINT`]: not just anywhere, since
    /// all commands must agree. With `mount`, mounts one there when there is none (takes CAP_SYS_ADMIN).
    pub fn find(bpffs: Option<&Path>, mount: bool) -> Result<Self> {
        let root = match bpffs {
            Some(path) => path.to_owned(),
            None => {
                let usual = Path::new(bpffs::USUAL_POINT);
                match bpffs::find()? {
                    Some(path) if path == usual => path,
                    _ if mount => {
                        bpffs::mount_at(usual)?;
                        usual.to_owned()
                    }
                    other => return Err(none_mounted(other.as_deref())),
                }
            }
        };
        if !bpffs::contains(&root)? {
            return Err(Error::Conflict {
                what: format!("{} is not on a bpf file system, which alone can hold pins", root.display()),
                remedy: "name a folder on one, or mount one there with `mount -t bpf bpf FOLDER`",
            });
        }
        Ok(Self { root: root.join(FOLDER) })
    }

    /// Whether [`Pins::find`] finds a place without being told of one.
    pub fn are_possible() -> Result<bool> {
        Ok(bpffs::find()?.is_some_and(|path| path == Path::new(bpffs::USUAL_POINT)))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The instance of the cgroup with this id, whether it exists or not.
    pub fn instance(&self, cgroup_id: u64) -> Instance {
        Instance { dir: self.root.join(format!("c{cgroup_id}")) }
    }

    /// The instances that exist.
    pub fn instances(&self) -> Result<Vec<Instance>> {
        let names = bpffs::names(&self.root)?.into_iter().filter(|name| number_after('c', name).is_some());
        Ok(names.map(|name| Instance { dir: self.root.join(name) }).collect())
    }
}

fn none_mounted(other: Option<&Path>) -> Error {
    let other = other.map_or_else(String::new, |path| format!(", though one is on {}", path.display()));
    Error::Conflict {
        what: format!("no bpf file system is mounted on {}{other}, so there is no place for pins", bpffs::USUAL_POINT),
        remedy: "run `mount -t bpf bpf /sys/fs/bpf`, or give --mount, or name another one with --bpffs",
    }
}

/// What is attached, or was, to one cgroup.
#[derive(Clone, Debug)]
pub struct Instance {
    dir: PathBuf,
}

impl Instance {
    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cgroup it was made for.
    pub fn cgroup_id(&self) -> u64 {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        number_after('c', &name).unwrap_or(0)
    }

    pub(super) fn link(&self) -> PathBuf {
        self.dir.join("link")
    }

    pub(super) fn owner_path(&self) -> PathBuf {
        self.dir.join("attended")
    }

    pub(super) fn staging_path(&self) -> PathBuf {
        self.dir.join("making")
    }

    pub(super) fn retired_path(&self) -> PathBuf {
        self.dir.join("removing")
    }
}

/// The number in `<letter><number>`.
pub(super) fn number_after(letter: char, name: &str) -> Option<u64> {
    name.strip_prefix(letter)?.parse().ok()
}
