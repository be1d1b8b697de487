//! What HAProxy's command line and configuration say of splice(2).
//!
//! With `option splice-auto` HAProxy receives by recvmsg until three reads in a row have filled its buffer. Where its own
//! output is slow that takes any time, and it can earn trust before. But it never splices when its configuration does not ask for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether the executable is HAProxy's, or that of HAProxy Enterprise.
pub(super) fn is(executable: &Path) -> bool {
    let name = executable.file_name().map_or(&b""[..], OsStr::as_bytes);
    name.starts_with(b"haproxy") || name.starts_with(b"hapee-lb")
}

/// What the command line says (management.txt, "Starting HAProxy").
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// Files and directories of the configuration.
    pub(super) files: Vec<PathBuf>,
    /// The directory from which their paths begin.
    pub(super) directory: Option<PathBuf>,
    /// `-dS`: it never splices.
    pub(super) never: bool,
}

impl CommandLine {
    /// `line` is the command line: arguments, each with a closing zero.
    pub(super) fn parse(line: &[u8]) -> Self {
        let path = |argument: &[u8]| PathBuf::from(OsStr::from_bytes(argument));
        let mut found = Self::default();
        let mut arguments = line.split(|byte| *byte == 0).skip(1);
        while let Some(argument) = arguments.next() {
            match argument {
                b"-dS" => found.never = true,
                b"-f" => found.files.extend(arguments.next().map(path)),
                b"-C" => found.directory = arguments.next().map(path),
                b"--" => found.files.extend(arguments.by_ref().filter(|argument| !argument.is_empty()).map(path)),
                _ => {}
            }
        }
        found
    }
}

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing of splice(2).
    Other,
    /// A proxy may splice.
    Splices,
    /// `nosplice`: no proxy does.
    Never,
}

impl Line {
    /// Conditions (`.if`) are not judged, and a name from the environment may be any: what may splice splices.
    pub(super) fn of(line: &str) -> Self {
        let line = line.split_once('#').map_or(line, |(before, _)| before).replace(['"', '\'', '\\'], "");
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("nosplice"), None) => Self::Never,
            (Some("option"), Some(name)) if name.starts_with("splice-") || name.contains('$') => Self::Splices,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_the_files() {
        let parse = |line: &str| CommandLine::parse(line.replace(' ', "\0").as_bytes());
        let line = parse("haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -C /srv -f conf.d -sf 7 8 ");
        assert_eq!(line.files, [Path::new("/etc/haproxy/haproxy.cfg"), Path::new("conf.d")]);
        assert_eq!((line.directory.as_deref(), line.never), (Some(Path::new("/srv")), false));
        let line = parse("haproxy -dS -- a b");
        assert_eq!((line.files, line.never), (vec!["a".into(), "b".into()], true));
        assert_eq!(parse(""), CommandLine::default());
        assert_eq!(parse("haproxy -f"), CommandLine::default());
    }

    #[test]
    fn a_line_asks_for_splice_or_does_not() {
        for (line, says) in [
            ("    option splice-auto", Line::Splices),
            ("option\tsplice-response # both ways", Line::Splices),
            ("option \"splice-request\"", Line::Splices),
            ("option \"${SPLICE}\"", Line::Splices),
            ("no option splice-auto", Line::Other),
            ("# option splice-auto", Line::Other),
            ("option tcplog", Line::Other),
            ("server splice-auto 127.0.0.1:1", Line::Other),
            ("  nosplice", Line::Never),
            ("", Line::Other),
        ] {
            assert_eq!(Line::of(line), says, "{line}");
        }
    }

    #[test]
    fn the_executable_tells_that_it_is_haproxy() {
        for (path, is_haproxy) in [
            ("/usr/sbin/haproxy", true),
            ("/opt/haproxy-3.0", true),
            ("/opt/hapee-3.0/sbin/hapee-lb", true),
            ("/usr/sbin/nginx", false),
            ("/", false),
        ] {
            assert_eq!(is(Path::new(path)), is_haproxy, "{path}");
        }
    }
}
