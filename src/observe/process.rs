//! The process behind a socket, and its cgroup.

use std::collections::HashMap;

use serde::Serialize;

use super::name;
use crate::sockets::Record;

/// One end of a connection, as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct End {
    /// The process that has the socket open.
    pub pid: u32,
    /// Its descriptor.
    pub fd: u32,
    /// Its name, as an operator knows it: comm when it was started under that name, and else the executable's.
    pub process: String,
    /// The kernel's name of it: 15 bytes at most (`TASK_COMM_LEN`, include/linux/sched.h).
    pub comm: String,
    /// Its cgroup below the mount of cgroup2; nothing when it has ended, or has none.
    pub cgroup: Option<String>,
    /// Own address.
    pub local: String,
    /// The peer's address, as this end sees it.
    pub remote: String,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Whether the descriptor is O_NONBLOCK.
    pub nonblocking: bool,
}

/// The names and cgroups of processes, looked up once each.
#[derive(Debug, Default)]
pub struct Processes {
    names: HashMap<u32, String>,
    cgroups: HashMap<u32, Option<String>>,
}

impl Processes {
    /// The name of the process that has the socket open, as an operator knows it.
    pub fn name(&mut self, record: &Record) -> &str {
        self.names.entry(record.pid).or_insert_with(|| name::of(record.pid, &record.comm))
    }

    /// What is known of the end that `record` describes.
    pub fn end(&mut self, record: &Record) -> End {
        let cgroup = self.cgroups.entry(record.pid).or_insert_with(|| cgroup_of(record.pid)).clone();
        End {
            pid: record.pid,
            fd: record.fd,
            process: self.name(record).to_owned(),
            comm: record.comm.clone(),
            cgroup,
            local: record.local.to_string(),
            remote: record.remote.to_string(),
            netns: record.netns,
            nonblocking: record.nonblocking,
        }
    }
}

/// The path of a process's cgroup in the cgroup2 hierarchy, which has number 0 (cgroups(7)).
fn cgroup_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}
