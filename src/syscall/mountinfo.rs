//! What is mounted where, from `/proc/self/mountinfo` (Documentation/filesystems/proc.rst, section 3.5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// The part of the file system that is mounted; `/` is all of it.
    pub root: PathBuf,
    /// Where it is seen by this process.
    pub point: PathBuf,
    /// The type: `cgroup2`, `bpf`, ...
    pub fs_type: String,
}

/// All mounts of this process, in the order they were made: a later one hides an earlier one at the same point.
pub fn mounts() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(path).map_err(|error| Error::file("read", path, &error))?;
    Ok(parse_mountinfo(&text))
}

/// Parses the text of a mountinfo file. Lines of another form are skipped.
///
/// ```text
/// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
///            root  point options   optional   separator, type
/// ```
pub fn parse_mountinfo(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = path(fields.nth(3)?);
    let point = path(fields.next()?);
    // The options, then any number of optional fields, then a dash.
    fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { root, point, fs_type })
}

/// Undoes the octal escapes (`\040` for a space) of `fs/seq_file.c`, mangle_path.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw,nsdelegate
52 1 0:40 /a\\040b /mnt/with\\040space\\134and\\011tab rw - bpf none rw
garbage
60 1 0:41 / /no/dash rw shared:3";

    #[test]
    fn reads_types_points_and_escapes_and_skips_what_it_does_not_know() {
        let mounts = parse_mountinfo(HYBRID);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[2].fs_type, "cgroup2");
        assert_eq!(mounts[2].point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mounts[3].point, Path::new("/mnt/with space\\and\ttab"));
        assert_eq!(mounts[3].root, Path::new("/a b"));
    }

    #[test]
    fn a_backslash_without_an_escape_stays() {
        assert_eq!(path(b"/a\\9\\04\\"), Path::new("/a\\9\\04\\"));
    }
}
