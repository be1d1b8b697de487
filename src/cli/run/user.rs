//! The user as whom the agent runs. It changes before anything is attached: what that user cannot do is an error at the start.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Args;
use super::remover::Remover;
use crate::agent::drop_privileges;
use crate::agent::lifecycle::OwnerLock;
use crate::agent::readers::SplicerMemory;
use crate::cli::error::Error;
use crate::syscall::User;
use crate::syscall::caps::{Capabilities, Capability};

/// Gives up all privileges that the agent does not need, and becomes the user that the settings name. Before that it gives this user
/// what is pinned; where none is named, it takes it back. `remover`, when it is dropped, removes directories that only root can.
pub(super) fn settle(args: &Args, pinned: Option<&OwnerLock>, remover: &mut Option<Last>) -> Result<(), Error> {
    let state = SplicerMemory::path();
    let Some(user) = args.user else {
        pinned.map_or(Ok(()), |pinned| pinned.give(User::own()))?;
        if state.parent().is_some_and(Path::exists) {
            // Where this fails, the agent says so when it reads the file.
            let _ = SplicerMemory::give(User::own());
        }
        return Ok(drop_privileges(None)?);
    };
    let check = |what: &str, path: &Path, done: io::Result<()>, remedy: &str| {
        let path = path.display();
        done.map_err(|error| Error::Failed(format!("user {} cannot {what} {path}: {error}; {remedy}", user.uid)))
    };
    let try_as_user = |what, path: &Path, work: fn(&Path) -> io::Result<()>, remedy| {
        check(what, path, user.tries(|| work(path)), remedy)
    };
    // Nothing is given away before all this has been tried.
    let directories: Vec<&Path> = pinned.iter().flat_map(|pinned| pinned.instance().directories()).collect();
    if !Capabilities::effective()?.has(Capability::DacReadSearch) {
        if let Some(first) = directories.last() {
            let remedy = "start with CAP_DAC_READ_SEARCH, or mount the bpf file system with mode=0711";
            try_as_user("reach", first, |path| fs::symlink_metadata(path).map(drop), remedy)?;
        }
        if let Some(config) = &args.config {
            let remedy = "let that user read it, or start with CAP_DAC_READ_SEARCH";
            try_as_user("read", config, |path| File::open(path).map(drop), remedy)?;
        }
    }
    if args.pods.are_given() {
        let remedy = "name the group that may with --user UID:GID, or leave --user out";
        try_as_user("open", &args.pods.socket()?, |path| UnixStream::connect(path).map(drop), remedy)?;
    }
    let remedy = "give it and its directory to that user with chown";
    check("keep", &state, SplicerMemory::give(user), remedy)?;
    if let Some(pinned) = pinned {
        pinned.give(user)?;
        *remover = Some(Last(Remover::start(c"sidestep-pins", &directories, None, args.seccomp)?));
    }
    Ok(drop_privileges(Some(user))?)
}

/// Removes at the end.
pub(super) struct Last(Remover);

impl Drop for Last {
    fn drop(&mut self) {
        // What is still in use is not empty, and stays.
        self.0.remove();
    }
}
