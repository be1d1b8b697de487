//! Where pins are.

use std::path::{Path, PathBuf};

use crate::agent::error::{Error, Result};
use crate::agent::problem::Problem;
use crate::syscall::bpffs;

/// Below the bpf file system.
const DIRECTORY: &str = "sidestep";
/// Below that. The number changes when the arrangement of the pins does.
const VERSION: &str = "v2";
/// The arrangements of older versions, which cannot be taken over.
const OLDER: [&str; 1] = ["v1"];

/// The directory of all instances.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// The pins below `bpffs`, a directory on a bpf file system, or below [`bpffs::USUAL_POINT`]: the place is fixed, so
    /// that all commands agree. With `mount`, mounts one there when there is none (takes CAP_SYS_ADMIN).
    ///
    /// Fails when another user could put, hide or replace pins there.
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
                remedy: "name a directory on one, or mount one there with `mount -t bpf bpf DIRECTORY`",
            });
        }
        let pins = Self { root: root.join(DIRECTORY).join(VERSION) };
        pins.check_private()?;
        Ok(pins)
    }

    /// Those in this directory.
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Below a directory that is private all are, since only this user creates directories in it.
    fn check_private(&self) -> Result<()> {
        for directory in [self.root.parent().unwrap_or(&self.root), &self.root] {
            if !bpffs::check_private(directory)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether [`Pins::find`] finds a place when none is given.
    pub fn are_possible() -> Result<bool> {
        Ok(bpffs::find()?.is_some_and(|path| path == Path::new(bpffs::USUAL_POINT)))
    }

    /// The directory.
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

    /// The directories of instances that an older version has pinned.
    pub fn older(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for version in OLDER {
            let root = self.root.with_file_name(version);
            let names = bpffs::names(&root)?.into_iter().filter(|name| number_after('c', name).is_some());
            found.extend(names.map(|name| root.join(name)));
        }
        Ok(found)
    }
}

fn none_mounted(other: Option<&Path>) -> Error {
    let other = other.map_or_else(String::new, |path| format!(", though one is on {}", path.display()));
    Error::Conflict {
        what: format!("no bpf file system is mounted on {}{other}, so there is no place for pins", bpffs::USUAL_POINT),
        remedy: "run `mount -t bpf bpf /sys/fs/bpf`, or name another one with --bpffs; `run` and `attach` mount it with --mount",
    }
}

/// What is attached, or was, to one or more cgroups.
#[derive(Clone, Debug)]
pub struct Instance {
    dir: PathBuf,
}

impl Instance {
    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The instances that exist where this one is or would be.
    pub fn with_others(&self) -> Result<Vec<Self>> {
        self.dir.parent().map_or(Ok(Vec::new()), |root| Pins { root: root.to_owned() }.instances())
    }

    /// The cgroup it was made for, and has its name from; others can have been added, and this one removed.
    pub fn cgroup_id(&self) -> u64 {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        number_after('c', &name).unwrap_or(0)
    }

    /// Fails when an older version has pinned an instance for the same cgroup: both would be attached to it.
    pub(super) fn refuse_older(&self) -> Result<()> {
        let name = self.dir.file_name().unwrap_or_default();
        let above = self.dir.ancestors().nth(2).unwrap_or(&self.dir);
        match OLDER.iter().map(|version| above.join(version).join(name)).find(|older| older.exists()) {
            Some(older) => {
                Err(Error::Conflict { what: Problem::OlderPins(older).to_string(), remedy: "then try again" })
            }
            None => Ok(()),
        }
    }

    /// Its directory, and those above it that are sidestep's.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.dir.ancestors().take(3)
    }

    /// Removes the directory, and those above it, when there is nothing in them: what a command that failed has created.
    /// The lock must be held.
    pub(super) fn remove_if_empty(&self) -> Result<()> {
        for directory in self.directories() {
            if !bpffs::remove_empty(directory)? && directory.exists() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn link(&self) -> PathBuf {
        self.dir.join("link")
    }

    pub(super) fn owner_path(&self) -> PathBuf {
        self.dir.join("owner")
    }

    pub(super) fn staging_path(&self) -> PathBuf {
        self.dir.join("staging")
    }

    pub(super) fn retired_path(&self) -> PathBuf {
        self.dir.join("retired")
    }
}

/// The number in `<letter><number>`.
pub(super) fn number_after(letter: char, name: &str) -> Option<u64> {
    name.strip_prefix(letter)?.parse().ok()
}
