//! What can go wrong below: which operation, on what, why, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::errno::Errno;
use super::release::Release;
use crate::uapi::ProgType;

/// Shorthand for results of this layer.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the system call layer. Its text is one sentence with a remedy where one is known (a program's load
/// failure adds the end of the verifier's log).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call.
    #[error("cannot {operation} {object}: {errno}{}", Remedy(remedy(*operation, *errno)))]
    Call {
        /// What was tried.
        operation: Operation,
        /// On what, as a noun phrase.
        object: String,
        /// Why not.
        errno: Errno,
    },
    /// The kernel refused a program; the log says why, unless the refusal came before the verifier.
    #[error("cannot load the {prog_type} program {name:?}: {errno}{}", LoadTail { log, errno: *errno })]
    Load {
        /// The program's name.
        name: String,
        /// The program's type as the kernel spells it, in lower case.
        prog_type: ProgType,
        /// Why not.
        errno: Errno,
        /// The whole verifier log; empty when there is none.
        log: String,
    },
    /// A file or directory of the kernel's file systems.
    #[error("cannot {action} {}: {errno}{}", path.display(), Remedy(file_remedy(*errno)))]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// Bytes from the kernel or from a file that do not have the documented form.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// Where it departs from the form.
        why: String,
    },
    /// Something this kernel does not have.
    #[error("{what} is missing from this kernel; {remedy}")]
    Missing {
        /// What was looked for.
        what: String,
        /// Where it can be had.
        remedy: &'static str,
    },
    /// Type information that cannot be read, or that lacks something.
    #[error("{0}; programs that need it cannot be built for this kernel")]
    Btf(#[from] crate::btf::Error),
    /// The caller asked for something that cannot be put to the kernel at all.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(super) fn call(operation: Operation, object: impl Into<String>, errno: Errno) -> Self {
        Self::Call { operation, object: object.into(), errno }
    }

    pub(super) fn file(action: &'static str, path: &Path, errno: impl Into<Errno>) -> Self {
        Self::File { action, path: path.to_owned(), errno: errno.into() }
    }

    /// The error number behind it, if the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. } | Self::Load { errno, .. } | Self::File { errno, .. } => Some(*errno),
            Self::Malformed { .. } | Self::Missing { .. } | Self::Btf(_) | Self::Invalid(_) => None,
        }
    }

    /// The verifier's log, for a program that did not load.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Load { log, .. } if !log.is_empty() => Some(log),
            _ => None,
        }
    }
}

/// What bpf(2) and its relatives were asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of each is in its Display")]
#[non_exhaustive]
pub enum Operation {
    MapCreate,
    MapLookup,
    MapUpdate,
    MapDelete,
    MapNextKey,
    MapFreeze,
    MapMmap,
    BtfLoad,
    Attach,
    Detach,
    Query,
    LinkCreate,
    LinkUpdate,
    LinkDetach,
    IterCreate,
    Pin,
    Get,
    GetById,
    NextId,
    Info,
    EnableStats,
    EnterNetns,
    /// SOCK_DESTROY of sock_diag(7).
    SockDestroy,
    NetnsCookie,
    Poll,
    RaiseMemlock,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MapCreate => "create",
            Self::MapLookup => "look up a key in",
            Self::MapUpdate => "write an entry of",
            Self::MapDelete => "delete an entry of",
            Self::MapNextKey => "list the keys of",
            Self::MapFreeze => "freeze",
            Self::MapMmap => "map the memory of",
            Self::BtfLoad => "load",
            Self::Attach | Self::LinkCreate => "attach",
            Self::Detach => "detach",
            Self::Query => "list the programs attached to",
            Self::LinkUpdate => "replace the program of",
            Self::LinkDetach => "detach",
            Self::IterCreate => "open a reader of",
            Self::Pin => "pin",
            Self::Get => "open the pinned object",
            Self::GetById => "open",
            Self::NextId => "list the ids of",
            Self::Info => "read the facts of",
            Self::EnableStats => "switch on",
            Self::EnterNetns => "enter",
            Self::SockDestroy => "destroy",
            Self::NetnsCookie => "read the network namespace cookie of",
            Self::Poll => "wait for",
            Self::RaiseMemlock => "raise",
        })
    }
}

/// The capabilities that every call of ours comes down to.
const CAPS: &str = "run as root or grant CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN stands in for both) in the initial \
                    user namespace";
const CAPS_OR_MEMLOCK: &str = "run as root or grant CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN stands in for both) in the \
                               initial user namespace; before Linux 5.11 a low RLIMIT_MEMLOCK gives the same error \
                               (`ulimit -l unlimited`)";

/// What to do about `errno` from `operation`. The reasons are those of `kernel/bpf/syscall.c`, `kernel/bpf/cgroup.c`
/// and `net/core/sock_map.c`.
fn remedy(operation: Operation, errno: Errno) -> Option<&'static str> {
    use Operation as Op;
    Some(match (operation, errno.0) {
        (_, libc::ENOSYS) => "this kernel was built without CONFIG_BPF_SYSCALL, or a seccomp filter blocks bpf(2)",
        (_, libc::EMFILE) => "too many open descriptors; raise `ulimit -n`",
        (Op::MapCreate, libc::EPERM) => CAPS_OR_MEMLOCK,
        (Op::RaiseMemlock, libc::EPERM) => {
            "run as root, grant CAP_SYS_RESOURCE, or set LimitMEMLOCK=infinity in the service"
        }
        (Op::GetById | Op::NextId | Op::Query | Op::EnableStats, libc::EPERM) => {
            "run as root or grant CAP_SYS_ADMIN, which looking at other owners' objects takes"
        }
        (Op::SockDestroy, libc::EOPNOTSUPP) => "use a kernel with CONFIG_INET_DIAG_DESTROY",
        (Op::SockDestroy, libc::EPERM) => "grant CAP_NET_ADMIN",
        (Op::EnterNetns, libc::EPERM) => "grant CAP_SYS_ADMIN, which setns(2) takes",
        (Op::Pin, libc::EPERM) => {
            "the path must lie on a bpf file system; mount one with `mount -t bpf bpf /sys/fs/bpf`"
        }
        (Op::Attach | Op::LinkCreate, libc::EPERM) => {
            "grant CAP_BPF and CAP_NET_ADMIN; with those at hand, a program that is attached to this cgroup or a parent \
             without BPF_F_ALLOW_MULTI keeps others out (`bpftool cgroup tree` names it)"
        }
        (Op::MapCreate, libc::EINVAL) => {
            "this kernel lacks the map type or one of its flags, or the sizes are out of range; `sidestep check` says which \
             (socket maps take a kernel built with CONFIG_NET_SOCK_MSG, before 5.13 with CONFIG_BPF_STREAM_PARSER)"
        }
        (Op::Attach | Op::LinkCreate, libc::EINVAL) => {
            "this kernel is too old for this kind of attachment, or the target is not of the kind it takes"
        }
        (Op::EnableStats, libc::EINVAL) => "run-time statistics take Linux 5.8 or later",
        (Op::MapCreate, libc::E2BIG) => "the key or value is larger than this kernel allows, or the kernel is too old",
        (Op::MapUpdate, libc::E2BIG | libc::ENOSPC) => "the map is full; make it larger",
        (Op::MapUpdate, libc::EEXIST) => "the key is already there; update without NO_EXIST to replace it",
        (Op::MapUpdate | Op::MapDelete, libc::EPERM | libc::EACCES) => "the map is frozen or open for reading only",
        (Op::MapUpdate, libc::EOPNOTSUPP) => {
            "the socket is not of a kind that the map takes (an established TCP socket, not MPTCP or SMC)"
        }
        (Op::MapUpdate, libc::EBUSY) => {
            "the socket is already in a map or carries another upper-layer protocol; nothing to do"
        }
        (Op::MapLookup, libc::ENOSPC) => "socket maps can only be read when their values have 8 bytes",
        (_, libc::ENOMEM) => "the kernel is out of memory, or the memory limit of this cgroup is reached",
        (Op::Attach | Op::LinkCreate, libc::EBUSY) => {
            "another program or link holds this place; `bpftool link` and `bpftool map` name it"
        }
        (Op::Attach | Op::LinkCreate, libc::EEXIST) => "this program is attached there already",
        (Op::Attach | Op::LinkCreate, libc::E2BIG) => {
            "64 programs are attached to this cgroup already, which is the limit"
        }
        (Op::Attach | Op::LinkCreate, libc::EOPNOTSUPP) => {
            "this kernel was built without CONFIG_CGROUP_BPF or CONFIG_NET_SOCK_MSG"
        }
        (Op::Attach | Op::LinkCreate, libc::EBADF) => "the target is not an open cgroup2 directory or socket map",
        (Op::LinkUpdate, libc::EPERM) => "the link holds another program than the one expected, or its cgroup is gone",
        (Op::LinkUpdate | Op::LinkDetach, libc::ENOLINK) => "the cgroup of this link is gone; drop the link",
        (Op::LinkDetach, libc::EOPNOTSUPP) => "close the link instead",
        (Op::Detach, libc::ENOENT) => "it is not attached there (any more)",
        (Op::Pin, libc::EEXIST) => "remove the old pin first, or take the object over from it",
        (Op::Pin | Op::Get, libc::ENOENT) => "create the directory first, on a bpf file system",
        (Op::Get, libc::EACCES) => "the pin belongs to another user",
        (Op::GetById, libc::ENOENT) => "no such object lives now",
        (Op::BtfLoad, libc::EINVAL) => "this kernel does not know a kind of type in it, or it is damaged",
        (Op::NetnsCookie, libc::ENOPROTOOPT) => "SO_NETNS_COOKIE takes Linux 5.14 or later",
        (_, libc::EPERM) => CAPS,
        _ => return None,
    })
}

fn file_remedy(errno: Errno) -> Option<&'static str> {
    match errno.0 {
        libc::EACCES | libc::EPERM => Some("run as root"),
        libc::EROFS => Some("remount the file system read-write"),
        libc::EMFILE => Some("raise `ulimit -n`"),
        // `user::path_of`
        libc::ENOSYS => Some("/proc does not show this process's descriptors; mount it (`mount -t proc proc /proc`)"),
        _ => None,
    }
}

struct Remedy(Option<&'static str>);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, "; {text}"))
    }
}

/// How many lines at the end of a verifier log an error shows: the offending instruction with its registers, the
/// reason and the statistics fit, also in the longer form of Linux 7.3 (context, causal path, suggestion).
const LOG_TAIL_LINES: usize = 24;

struct LoadTail<'a> {
    log: &'a str,
    errno: Errno,
}

impl fmt::Display for LoadTail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.log.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            let advice = match self.errno.0 {
                libc::EPERM => CAPS_OR_MEMLOCK,
                libc::EINVAL => {
                    "the kernel refused it before verification: it does not know the program type, the attach type or a flag"
                }
                libc::E2BIG => "it has no instructions, or more than 4096 (unprivileged) or 1,000,000",
                libc::ENOSYS => "this kernel was built without CONFIG_BPF_SYSCALL, or a seccomp filter blocks bpf(2)",
                524 => "the JIT compiler cannot take it; see net.core.bpf_jit_enable",
                _ => return write!(f, "; the kernel ({}) left no log", Release::running_text()),
            };
            return write!(f, "; {advice}");
        }
        writeln!(f, "; the verifier's log ends with:")?;
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        for (index, line) in tail.iter().enumerate() {
            write!(f, "  {line}{}", if index + 1 < tail.len() { "\n" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_on_what_why_and_what_to_do() {
        let error = Error::call(Operation::MapCreate, "the sockhash map \"sockets\"", Errno::EPERM);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot create the sockhash map \"sockets\": Operation not permitted (EPERM); "),
            "{text}"
        );
        assert!(text.contains("CAP_BPF") && text.contains("RLIMIT_MEMLOCK"), "{text}");
        assert_eq!(error.errno(), Some(Errno::EPERM));
    }

    #[test]
    fn a_load_error_shows_the_end_of_the_log_and_keeps_all_of_it() {
        let log: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let error =
            Error::Load { name: "p".into(), prog_type: ProgType::SK_MSG, errno: Errno::EACCES, log: log.clone() };
        let text = error.to_string();
        assert!(text.contains("line 99") && text.contains("line 76") && !text.contains("line 75"), "{text}");
        assert_eq!(error.log(), Some(log.as_str()));
    }

    #[test]
    fn a_load_error_without_a_log_gives_the_reason_that_comes_before_verification() {
        let error =
            Error::Load { name: "p".into(), prog_type: ProgType::SK_MSG, errno: Errno::EPERM, log: String::new() };
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        assert_eq!(error.log(), None);
    }
}
