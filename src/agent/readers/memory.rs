//! The programs that have been seen to splice: a file, so that they are known after a restart.
//!
//! One program a line. Without a directory for it, or without leave to write, they are known until this process ends.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::syscall::User;

/// The file in the directory.
const FILE: &str = "splicers";
/// systemd names the directory of `StateDirectory=` here (systemd.exec(5)).
const VARIABLE: &str = "STATE_DIRECTORY";
/// The directory without it.
const DIRECTORY: &str = "/var/lib/sidestep";
/// Longest file that is read: 4,096 programs of 256 bytes.
const LARGEST: u64 = 1 << 20;

/// What is remembered.
#[derive(Debug)]
pub struct SplicerMemory {
    known: BTreeSet<String>,
    file: PathBuf,
}

impl SplicerMemory {
    /// The file of this machine.
    pub fn path() -> PathBuf {
        let directory = std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty());
        // Several directories are separated by colons; ours is the first.
        let directory = directory.and_then(|all| Some(PathBuf::from(all.to_str()?.split(':').next()?)));
        directory.unwrap_or_else(|| DIRECTORY.into()).join(FILE)
    }

    /// What is remembered on this machine. When it cannot be read, the log says so.
    pub fn open() -> Self {
        let (memory, error) = Self::read(Self::path());
        if let Some(error) = error {
            super::say(&format!(
                "cannot read {}, so programs that splice are found out again: {error}",
                memory.file.display()
            ));
        }
        memory
    }

    /// Reads `file`; the second is why it could not be read, if it is there.
    pub fn read(file: PathBuf) -> (Self, Option<io::Error>) {
        let (known, error) = match load(&file) {
            Ok(known) => (known, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeSet::new(), None),
            Err(error) => (BTreeSet::new(), Some(error)),
        };
        (Self { known, file }, error)
    }

    /// Gives the file of this machine, and its directory, which is made if it is missing, to a user. What another user has in that
    /// directory besides is an error, and so is such a file in a directory that is this user's.
    pub fn give(user: User) -> io::Result<()> {
        let file = Self::path();
        let Some(directory) = file.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let owner = |path| fs::symlink_metadata(path).map(|data| data.uid());
        if owner(directory)? == user.uid {
            return match owner(&file) {
                Ok(other) if other != user.uid => Err(io::Error::other("it belongs to another user")),
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let mut entries = fs::read_dir(directory)?;
        if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != FILE)) {
            return Err(io::Error::other("its directory holds other files and belongs to another user"));
        }
        user.own_all(directory)
    }

    /// Whether this program is known to splice.
    pub fn knows(&self, program: &str) -> bool {
        self.known.contains(program)
    }

    /// The programs, in order.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    /// Remembers a program. An error means: until this process ends.
    pub fn add(&mut self, program: &str) -> io::Result<()> {
        if !self.known.insert(program.to_owned()) {
            return Ok(());
        }
        if let Some(directory) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            owned(directory)?;
        }
        let mut file = options().append(true).create(true).mode(0o600).open(&self.file)?;
        file.write_all(format!("{program}\n").as_bytes())?;
        file.sync_data()
    }
}

fn load(file: &Path) -> io::Result<BTreeSet<String>> {
    let mut text = Vec::new();
    let opened = options().read(true).open(file)?;
    if opened.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    opened.take(LARGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A symbolic link is refused: another user may have put it there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options
}

fn owned(directory: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(directory)?;
    let safe = data.is_dir() && data.uid() == nix::unistd::geteuid().as_raw() && data.mode() & 0o022 == 0;
    if safe { Ok(()) } else { Err(io::Error::other("others may write into its directory")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_known_to_the_next() {
        let directory = std::env::temp_dir().join(format!("sidestep-memory-{}", std::process::id()));
        let file = directory.join("state").join(FILE);
        let (mut memory, error) = SplicerMemory::read(file.clone());
        assert!(error.is_none() && memory.programs().next().is_none());
        memory.add("/usr/sbin/haproxy /etc/haproxy.cfg").unwrap();
        memory.add("/bin/b").unwrap();
        memory.add("/bin/b").unwrap();
        let (again, error) = SplicerMemory::read(file.clone());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(again.programs().collect::<Vec<_>>(), ["/bin/b", "/usr/sbin/haproxy /etc/haproxy.cfg"]);
        assert!(again.knows("/bin/b") && !again.knows("/bin/c"));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert!(SplicerMemory::read(file).1.is_some());
        fs::remove_dir_all(directory).unwrap();
    }
}
