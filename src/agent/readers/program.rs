//! Which program a process runs, by a name that outlives the process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest argument that is taken as it is; of longer ones, such as the code after `python3 -c`, a number stays.
const LONGEST: usize = 100;

/// What a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The path of the executable, as its own mount namespace has it.
    pub(super) path: PathBuf,
    /// The path and the first argument that does not begin with a dash: what an interpreter runs, or what a server's configuration is.
    pub(super) name: String,
}

impl Program {
    /// That of process `process`; `None` when it has ended, or cannot be seen from here.
    pub(super) fn of(process: u32) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/{process}"));
        let path = std::fs::read_link(directory.join("exe")).ok()?;
        let line = std::fs::read(directory.join("cmdline")).ok()?;
        Some(Self::from_parts(path, &line))
    }

    /// `line` is the command line: arguments, each with a closing zero.
    fn from_parts(path: PathBuf, line: &[u8]) -> Self {
        let mut arguments = line.split(|byte| *byte == 0).filter(|argument| !argument.is_empty());
        arguments.next();
        let mut name = printable(path.as_os_str());
        if let Some(argument) = arguments.find(|argument| !argument.starts_with(b"-")) {
            name.push(' ');
            if argument.len() <= LONGEST {
                name += &printable(OsStr::from_bytes(argument));
            } else {
                name += &format!("#{:016x}", fnv(argument));
            }
        }
        Self { path, name }
    }

    /// Whether its executable is the one named: by its path, or by its file name alone.
    pub(super) fn is(&self, named: &Path) -> bool {
        if named.is_absolute() { self.path == named } else { self.path.file_name() == Some(named.as_os_str()) }
    }
}

/// FNV-1a (draft-eastlake-fnv), which is the same in every version.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Without what would break a line or a terminal.
fn printable(text: &OsStr) -> String {
    text.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, line: &[u8]) -> String {
        Program::from_parts(path.into(), line).name
    }

    #[test]
    fn names_tell_scripts_apart() {
        assert_eq!(name("/usr/sbin/haproxy", b"haproxy\0-f\0/etc/haproxy.cfg\0"), "/usr/sbin/haproxy /etc/haproxy.cfg");
        assert_eq!(name("/usr/bin/python3", b"python3\0-u\0proxy.py\080\0"), "/usr/bin/python3 proxy.py");
        assert_eq!(name("/a\nb", b""), "/a?b");
        let code = |byte: u8| name("/python3", &[b"python3\0-c\0".as_slice(), &[byte; 200]].concat());
        assert_ne!(code(b'a'), code(b'b'));
        assert!(code(b'a').len() < 40);
    }

    #[test]
    fn a_program_is_named_by_its_path_or_its_file() {
        let program = Program::from_parts("/usr/sbin/nginx".into(), b"");
        for (named, is) in [("/usr/sbin/nginx", true), ("nginx", true), ("/sbin/nginx", false), ("ngin", false)] {
            assert_eq!(program.is(Path::new(named)), is, "{named}");
        }
    }

    #[test]
    fn this_process_has_a_program() {
        assert_eq!(Program::of(std::process::id()).unwrap().path, std::env::current_exe().unwrap());
        assert_eq!(Program::of(u32::MAX), None);
    }
}
