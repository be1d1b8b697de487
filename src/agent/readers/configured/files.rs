//! The files that another process has read, as it saw them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Longest file that is read. A configuration with 100,000 servers has about 10 MB.
const LARGEST: u64 = 64 << 20;
/// Most directories above a root: a path has at most 4,096 bytes (PATH_MAX), and a directory takes two of them.
const DEEPEST: usize = 2_048;

/// A root directory in which paths begin, and the working directory of its process.
#[derive(Debug)]
pub(super) struct Root {
    root: File,
    directory: PathBuf,
}

impl Root {
    /// Those in which `process` may have read. It may have confined itself to a directory by chroot(2) later, so the root of its mount namespace
    /// is one, too. And a master process, which runs the same program, keeps the working directory.
    pub(super) fn of(process: u32) -> Vec<Self> {
        let link = |process: u32, name: &str| std::fs::read_link(format!("/proc/{process}/{name}")).ok();
        let is_master = |other: &u32| {
            ["exe", "ns/mnt"].iter().all(|name| link(process, name).is_some_and(|own| link(*other, name) == Some(own)))
        };
        let processes = [Some(process), parent(process).filter(is_master)].into_iter().flatten();
        processes.filter_map(|process| Self::open(process).ok()).flatten().collect()
    }

    /// The root of a process, and that of its mount namespace where this is another one.
    fn open(process: u32) -> io::Result<Vec<Self>> {
        let process = PathBuf::from(format!("/proc/{process}"));
        let (own, directory) = (open_directory(&process.join("root"))?, std::fs::read_link(process.join("cwd"))?);
        let above = topmost(&own)?;
        let roots = std::iter::once(own).chain(above);
        Ok(roots.map(|root| Self { root, directory: directory.clone() }).collect())
    }

    /// Opens a file of the process, or a directory. Links in it lead to where they lead the process. A FIFO and a device do not block.
    fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(self.root.as_fd(), &self.directory.join(path), how)?.into())
    }

    /// The paths of a configuration that is in `path`: itself, or what a directory has with the ending `.cfg`, as HAProxy reads them.
    pub(super) fn listing(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let file = self.file(path)?;
        if !file.metadata()?.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let names = entries.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect::<io::Result<Vec<_>>>()?;
        let is_read = |name: &PathBuf| name.extension().is_some_and(|ending| ending == "cfg");
        Ok(names.into_iter().filter(is_read).map(|name| path.join(name)).collect())
    }

    /// Gives each line of `path` with its number. The file must not have been changed after `since`, in seconds and nanoseconds since 1970.
    pub(super) fn lines(&self, path: &Path, since: (i64, i64), mut each: impl FnMut(usize, &str)) -> io::Result<()> {
        let file = self.file(path)?;
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if data.len() > LARGEST {
            return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
        }
        // The time of change: a file that is moved to this place keeps its time of modification.
        if (data.ctime(), data.ctime_nsec()) > since {
            return Err(io::Error::other("it was changed after the program had begun"));
        }
        let mut file = BufReader::new(file.take(LARGEST));
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if file.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            each(number, &String::from_utf8_lossy(&line));
        }
        Ok(())
    }
}

/// The directory above this one to which ".." leads in the end, if there is one. From a directory of another mount namespace this is that
/// namespace's root.
fn topmost(directory: &File) -> io::Result<Option<File>> {
    let place = |directory: &File| directory.metadata().map(|data| (data.dev(), data.ino()));
    let mut top = None;
    for _ in 0..DEEPEST {
        let below = top.as_ref().unwrap_or(directory);
        let above = open_directory(&PathBuf::from(format!("/proc/self/fd/{}/..", below.as_raw_fd())))?;
        if place(&above)? == place(below)? {
            break;
        }
        top = Some(above);
    }
    Ok(top)
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

/// The number of the parent, from /proc/PID/status.
fn parent(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: (i64, i64) = (i64::MAX, 0);

    #[test]
    fn a_file_is_read_as_its_process_sees_it() {
        let directory = std::env::temp_dir().join(format!("sidestep-configured-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("conf.d")).unwrap();
        std::fs::write(directory.join("conf.d/a.cfg"), "one\ntwo").unwrap();
        std::fs::write(directory.join("conf.d/b.txt"), "").unwrap();
        std::os::unix::fs::symlink("conf.d/a.cfg", directory.join("link")).unwrap();
        nix::unistd::mkfifo(&directory.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let roots = Root::of(std::process::id());
        let root = roots.first().unwrap();
        assert_eq!(root.listing(&directory.join("conf.d")).unwrap(), [directory.join("conf.d/a.cfg")]);
        let mut lines = Vec::new();
        root.lines(&directory.join("link"), ALWAYS, |number, line| lines.push((number, line.to_owned()))).unwrap();
        assert_eq!(lines, [(1, "one\n".to_owned()), (2, "two".to_owned())]);
        let error = |name: &str, since| root.lines(&directory.join(name), since, |_, _| {}).unwrap_err().to_string();
        assert_eq!(error("link", (0, 0)), "it was changed after the program had begun");
        assert_eq!(error("fifo", ALWAYS), "it is not a regular file");
        assert!(root.listing(&directory.join("none")).is_err());
        let root = File::open("/").unwrap();
        let above = topmost(&open_directory(&directory.join("conf.d")).unwrap()).unwrap().unwrap();
        assert_eq!(above.metadata().unwrap().ino(), root.metadata().unwrap().ino());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
