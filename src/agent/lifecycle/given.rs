//! An instance that root has given to another user, as whom its agent runs.
//!
//! The directories above stay root's, and root alone can write there. So a directory of an instance that belongs to another user has
//! been given away by root.

use super::lock::{DirectoryLock, OwnerLock};
use crate::agent::error::{Error, Result};
use crate::syscall::{User, bpffs};

impl OwnerLock {
    /// Gives all pins of the instance to a user, also those that another user had.
    pub fn give(&self, user: User) -> Result<()> {
        let dir = self.instance().dir();
        let _lock = DirectoryLock::take(dir, true)?;
        user.own_all(dir).map_err(|error| Error::Conflict {
            what: format!("cannot give {} to user {}: {error}", dir.display(), user.uid),
            remedy: "run as root with CAP_CHOWN, or run `sidestep detach` first",
        })?;
        if user != User::own() {
            // The user's agent finds its pins.
            for above in self.instance().directories().skip(1) {
                bpffs::let_pass(above)?;
            }
        }
        Ok(())
    }
}
