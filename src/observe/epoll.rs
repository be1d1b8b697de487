//! Which sockets the epoll instances of a process watch, and how.
//!
//! `/proc/PID/fdinfo/FD` of an epoll instance has a line for each descriptor in it (`ep_show_fdinfo`, fs/eventpoll.c). While the
//! kernel writes these lines, it holds the lock that epoll_wait(2) takes to hand out events, so they are read only for what is shown,
//! and once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};

use serde::Serialize;

use crate::sockets::Record;

/// What an epoll instance of the process that has it open reports of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Epoll {
    /// How it is registered: level (level-triggered), edge (edge-triggered), both, none (in no epoll instance of this process, which
    /// may wait by io_uring, poll(2) or another process) or not_seen.
    pub registered: &'static str,
    /// The events of each registration, without EPOLL before them: IN, OUT, RDHUP, ET, EXCLUSIVE.
    pub events: Vec<String>,
    /// Why it could not be seen.
    pub unseen: Option<String>,
}

/// The epoll instances of processes, read once each.
#[derive(Debug, Default)]
pub struct Epolls(HashMap<u32, io::Result<Watched>>);

/// The events of each registration, by the inode number of what is registered. Sockets and pipes take theirs from one counter
/// (`get_next_ino`, fs/inode.c); a descriptor's number may since stand for another file.
type Watched = HashMap<u64, Vec<u32>>;

/// Where the link of an epoll instance points to (`do_epoll_create`, fs/eventpoll.c).
const EVENTPOLL: &str = "anon_inode:[eventpoll]";

/// `EPOLLET`, include/uapi/linux/eventpoll.h.
const EPOLLET: u32 = 1 << 31;

/// The others that a program can ask for, from the same place.
const EVENTS: [(u32, &str); 9] = [
    (0x1, "IN"),
    (0x2, "PRI"),
    (0x4, "OUT"),
    (0x8, "ERR"),
    (0x10, "HUP"),
    (0x2000, "RDHUP"),
    (1 << 28, "EXCLUSIVE"),
    (1 << 30, "ONESHOT"),
    (EPOLLET, "ET"),
];

impl Epolls {
    /// How the socket is registered in the process that has it open. To see that takes root, or the process's own user; from Linux
    /// 5.14 on, CAP_SYS_PTRACE will do (`proc_fdinfo_permission`, fs/proc/fd.c).
    pub fn of(&mut self, record: &Record) -> Epoll {
        let watched = self.0.entry(record.pid).or_insert_with(|| watched(record.pid));
        match watched {
            Ok(watched) => Epoll::of(watched.get(&record.inode).map_or(&[], Vec::as_slice)),
            Err(error) => Epoll { registered: "not_seen", events: Vec::new(), unseen: Some(error.to_string()) },
        }
    }
}

impl Epoll {
    fn of(registrations: &[u32]) -> Self {
        let has = |edge: bool| registrations.iter().any(|events| (events & EPOLLET != 0) == edge);
        let registered = match (has(false), has(true)) {
            (false, false) => "none",
            (true, false) => "level",
            (false, true) => "edge",
            (true, true) => "both",
        };
        Self { registered, events: registrations.iter().map(|events| names(*events)).collect(), unseen: None }
    }
}

/// The names of the events. Those that have none here are ones of the kernel's own.
fn names(events: u32) -> String {
    let names = EVENTS.iter().filter(|(bit, _)| events & bit != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(" ")
}

fn watched(pid: u32) -> io::Result<Watched> {
    let mut watched = Watched::new();
    // Only the process's own user, and who may read any directory, sees where its descriptors point to.
    let (entries, are_links) = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            (fs::read_dir(format!("/proc/{pid}/fdinfo"))?, false)
        }
        links => (links?, true),
    };
    for entry in entries {
        let entry = entry?;
        let mut read = || -> io::Result<()> {
            if are_links && fs::read_link(entry.path())?.as_os_str() != EVENTPOLL {
                return Ok(());
            }
            let info = File::open(format!("/proc/{pid}/fdinfo/{}", entry.file_name().display()))?;
            for line in BufReader::new(info).lines() {
                if let Some((inode, events)) = registration(&line?) {
                    watched.entry(inode).or_default().push(events);
                }
            }
            Ok(())
        };
        match read() {
            // Its descriptor has been closed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(watched)
}

/// The inode number and the events of a line of an epoll instance's file.
fn registration(line: &str) -> Option<(u64, u32)> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    words.find(|word| *word == "events:")?;
    let events = u32::from_str_radix(words.next()?, 16).ok()?;
    let inode = words.find_map(|word| word.strip_prefix("ino:"))?;
    Some((u64::from_str_radix(inode, 16).ok()?, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_inode_and_the_events() {
        // Linux 6.18.
        let line = "tfd:        5 events: 80002019 data: 55c7db8e4f30  pos:0 ino:1f sdev:9";
        assert_eq!(registration(line), Some((0x1f, 0x8000_2019)));
        for other in ["pos:\t0", "tfd: 5", "tfd: 5 events: x ino:1", "tfd: 5 events: 1 data: 0 pos:0 sdev:9", ""] {
            assert_eq!(registration(other), None, "{other}");
        }
    }

    #[test]
    fn registrations_are_level_or_edge_triggered_or_none() {
        let of = |events: &[u32]| {
            let epoll = Epoll::of(events);
            (epoll.registered, epoll.events.join(", "))
        };
        assert_eq!(of(&[]), ("none", String::new()));
        assert_eq!(of(&[0x2019]), ("level", "IN ERR HUP RDHUP".into()));
        assert_eq!(of(&[0x8000_2005]), ("edge", "IN OUT RDHUP ET".into()));
        assert_eq!(of(&[1, 0xd000_0000]), ("both", "IN, EXCLUSIVE ONESHOT ET".into()));
    }
}
