//! The user as whom the agent runs. It changes before anything is attached: what that user cannot do is an error at the start.

use std::fs::File;
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

/// Gives up all privileges that the agent does not need, and becomes the user that the settings name. What is pinned is given to it
/// before, and taken back where none is named. `remover` takes away the directories that only root can remove, when it is dropped.
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
    let may_search = Capabilities::effective()?.has(Capability::DacReadSearch);
    check("keep", &state, SplicerMemory::give(user), "give its directory to that user with chown")?;
    if let Some(pinned) = pinned {
        let directories: Vec<&Path> = pinned.instance().directories().collect();
        if let (false, Some(first)) = (may_search, directories.last()) {
            let remedy = "start with CAP_DAC_READ_SEARCH, or mount the bpf file system with mode=0711";
            check("reach", first, user.reaches(first), remedy)?;
        }
        pinned.give(user)?;
        *remover = Some(Last(Remover::start(c"sidestep-pins", &directories, None, args.seccomp)?));
    }
    drop_privileges(Some(user))?;
    if let Some(config) = &args.config {
        let remedy = "let that user read it, or start with CAP_DAC_READ_SEARCH";
        check("read", config, File::open(config).map(drop), remedy)?;
    }
    if args.pods.are_given() {
        let socket = args.pods.socket()?;
        let remedy = "name the group that may with --user UID:GID, or leave --user out";
        check("open", &socket, UnixStream::connect(&socket).map(drop), remedy)?;
    }
    Ok(())
}

/// Removes at the end.
pub(super) struct Last(Remover);

impl Drop for Last {
    fn drop(&mut self) {
        // What is still in use is not empty, and stays.
        self.0.remove();
    }
}
