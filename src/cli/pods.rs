//! The flags that name pods instead of cgroups, and the cgroup that holds the data plane while no pod is accelerated.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::cgroups::hint;
use super::cri::socket;
use super::error::Error;
use super::values::one_of;
use crate::pods::{Rule, Selector, find_socket};
use crate::syscall::{cgroup, prog_query};
use crate::uapi::AttachType;

/// What the flags said.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Pods (instead of --cgroup)")]
pub(super) struct PodArgs {
    /// Accelerate pods of this node, as they come and go. SELECTOR is `all`, or conditions that all hold, joined by commas:
    /// namespace=NAME, label:KEY=VALUE, label:KEY!=VALUE, label:KEY, and the same with annotation: for label:. Can be repeated:
    /// each selector adds pods. Whether a pod of these is accelerated, its annotation sidestep.dev/accelerate says: "true" or
    /// "false"
    #[arg(long, value_name = "SELECTOR")]
    pods: Vec<Selector>,
    /// Whether selected pods are accelerated that do not have the annotation; off by default
    #[arg(long, value_name = "WHETHER", value_parser = one_of([("on", true), ("off", false)]))]
    pods_default: Option<bool>,
    /// The CRI socket of the container runtime, which knows the pods [default: that of containerd, CRI-O, cri-dockerd or k3s]
    #[arg(long, value_name = "PATH", value_parser = socket)]
    cri: Option<PathBuf>,
}

impl PodArgs {
    /// Whether pods are named.
    pub(super) fn are_given(&self) -> bool {
        !self.pods.is_empty()
    }

    /// Which of them are accelerated.
    pub(super) fn rule(&self) -> Rule {
        Rule { selectors: self.pods.clone(), default: self.pods_default.unwrap_or(false) }
    }

    /// The socket of the runtime.
    pub(super) fn socket(&self) -> Result<PathBuf, Error> {
        self.cri.clone().map_or_else(|| Ok(find_socket()?), Ok)
    }

    /// The socket that the flag names.
    pub(super) fn named_socket(&self) -> Option<&Path> {
        self.cri.as_deref()
    }

    /// Fails where --cgroup is given, too.
    pub(super) fn refuse_both(named: bool) -> Result<(), Error> {
        if !named {
            return Ok(());
        }
        let why = "--pods and --cgroup do not go together, since a pod inside a cgroup that is accelerated could not opt out; give one of \
                   them";
        Err(Error::Usage(why.into()))
    }

    /// Fails where the flags do not go together; `named` says whether --cgroup is given.
    pub(super) fn check(&self, named: bool) -> Result<(), Error> {
        match (self.are_given(), named) {
            (true, named) => Self::refuse_both(named),
            (false, _) if self.pods_default.is_some() || self.cri.is_some() => Err(Error::Usage(
                "--pods-default and --cri say something of the pods that --pods selects; add it, such as --pods all"
                    .into(),
            )),
            (false, false) => Err(Error::Usage(format!("--cgroup is missing, or --pods; {}", hint()))),
            _ => Ok(()),
        }
    }
}

/// The name of the cgroup that holds the data plane.
const ANCHOR: &str = "sidestep-pods";

/// The directory of the empty cgroup that gives the data plane of pods its name. It is made where there is none. No process is
/// in it, so nothing is accelerated by it.
pub(super) fn anchor() -> Result<PathBuf, Error> {
    // In a container there are several mounts; not each shows it, and not each can be written to.
    let places: Vec<PathBuf> = cgroup::find_all()?.iter().map(|root| root.join(ANCHOR)).collect();
    if let Some(there) = places.iter().find(|place| place.is_dir()) {
        return Ok(there.clone());
    }
    let mut refused = hint();
    for place in places {
        match std::fs::create_dir(&place) {
            Ok(()) => return Ok(place),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(place),
            Err(error) => {
                refused = format!(
                    "cannot create {}, an empty cgroup that holds the data plane while no pod is accelerated: {error}; create it with \
                     mkdir, or let Kubernetes do so by a hostPath volume of the type DirectoryOrCreate",
                    place.display()
                );
            }
        }
    }
    Err(Error::Failed(refused))
}

/// Whether this is that cgroup.
pub(super) fn is_anchor(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ANCHOR)
}

/// Keeps others from removing it, until this is dropped.
pub(super) fn hold_anchor(path: &Path) -> Result<Flock<File>, Error> {
    let failed = |error| Error::Failed(format!("cannot lock {}: {error}; run as root", path.display()));
    loop {
        // Another agent may have removed it just now. Where it cannot be made, opening it says why.
        let _ = std::fs::create_dir(path);
        let dir = File::open(path).map_err(failed)?;
        let lock = Flock::lock(dir, FlockArg::LockShared).map_err(|(_, errno)| failed(errno.into()))?;
        let ours = lock.metadata().map_err(failed)?.ino();
        if path.metadata().is_ok_and(|there| there.ino() == ours) {
            return Ok(lock);
        }
    }
}

/// Removes it with `remove`, unless another agent holds it, or something is attached to it. Returns whether it stays though
/// nothing uses it.
pub(super) fn remove_anchor(held: &Flock<File>, remove: impl FnOnce() -> bool) -> bool {
    held.relock(FlockArg::LockExclusiveNonblock).is_ok()
        && prog_query(held.as_fd(), AttachType::CGROUP_SOCK_OPS).is_ok_and(|programs| programs.is_empty())
        && !remove()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_do_not_go_together_are_refused_in_one_sentence() {
        let pods = |count| PodArgs { pods: vec!["all".parse().unwrap(); count], ..PodArgs::default() };
        assert!(pods(1).check(false).is_ok() && pods(0).check(true).is_ok());
        let other = PodArgs { cri: Some("/x".into()), ..PodArgs::default() };
        for (refused, part) in [
            (pods(1).check(true), "do not go together"),
            (pods(0).check(false), "--cgroup is missing, or --pods"),
            (other.check(true), "--pods all"),
            (PodArgs { pods_default: Some(false), ..PodArgs::default() }.check(false), "--pods all"),
        ] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(part) && !text.contains('\n'), "{text}");
        }
    }
}
