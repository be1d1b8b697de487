//! The process behind a socket, and its cgroup.

use std::collections::HashMap;

use serde::Serialize;

use super::epoll::Epoll;
use super::name;
use super::pod::{PodNames, PodOf};
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
    /// Its pod, as namespace/name; nothing when it is in none, or the container runtime has not named it.
    pub pod: Option<String>,
    /// The UID of its pod, which its cgroup bears; nothing when it is in none.
    pub pod_uid: Option<String>,
    /// Own address.
    pub local: String,
    /// The peer's address, as this end sees it.
    pub remote: String,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Whether the descriptor is O_NONBLOCK.
    pub nonblocking: bool,
    /// How an epoll instance of its process watches it; nothing where this was not looked at, as by commands other than `list
    /// --json` and `explain`.
    pub epoll: Option<Epoll>,
}

/// The names and cgroups of processes, looked up once each.
#[derive(Debug, Default)]
pub struct Processes {
    names: HashMap<u32, String>,
    cgroups: HashMap<u32, Option<String>>,
    pods: PodNames,
}

impl End {
    /// Where it runs, in one word: its pod, or else its cgroup.
    pub fn place(&self) -> String {
        place(&self.pod, &self.cgroup)
    }
}

/// Whether there is such a process, as far as can be seen.
pub fn is_running(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// A pod, or else a cgroup.
pub(super) fn place(pod: &Option<String>, cgroup: &Option<String>) -> String {
    let place = pod.as_deref().or(cgroup.as_deref()).unwrap_or("unknown");
    // A container may name its cgroups as it likes, and a terminal obeys control characters.
    place.chars().filter(|one| !one.is_control()).collect()
}

impl Processes {
    /// With the names of the pods that they may be in.
    pub fn with(pods: PodNames) -> Self {
        Self { pods, ..Self::default() }
    }

    /// The name of the process that has the socket open, as an operator knows it.
    pub fn name(&mut self, record: &Record) -> &str {
        self.names.entry(record.pid).or_insert_with(|| name::of(record.pid, &record.comm))
    }

    /// What is known of the end that `record` describes.
    pub fn end(&mut self, record: &Record) -> End {
        let cgroup = self.cgroups.entry(record.pid).or_insert_with(|| cgroup_of(record.pid)).clone();
        let pod = cgroup.as_deref().and_then(|path| self.pods.find(path));
        let (pod, pod_uid) = pod.map_or((None, None), |PodOf { uid, name }| (name, Some(uid)));
        End {
            pid: record.pid,
            fd: record.fd,
            process: self.name(record).to_owned(),
            comm: record.comm.clone(),
            cgroup,
            pod,
            pod_uid,
            local: record.local.to_string(),
            remote: record.remote.to_string(),
            netns: record.netns,
            nonblocking: record.nonblocking,
            epoll: None,
        }
    }
}

/// The path of a process's cgroup in the cgroup2 hierarchy, which has number 0 (cgroups(7)).
fn cgroup_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}
