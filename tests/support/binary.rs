//! A copy of the program that every user can execute: the directories of a build may be closed to others.

use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::unique;

/// It goes with the value.
pub(crate) struct PublicBinary(PathBuf);

impl PublicBinary {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique("sidestep-binary"));
        // By a process of its own: a child that another test starts meanwhile would hold a descriptor of ours that may
        // write, and execve(2) would answer ETXTBSY.
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_sidestep")).arg(&path).status().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Deref for PublicBinary {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for PublicBinary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
