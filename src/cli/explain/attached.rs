//! What is attached, and what that means for one connection.

use std::path::Path;

use crate::agent::lifecycle::Pins;
use crate::cli::error::Error;
use crate::cli::target::PinArgs;
use crate::dataplane::{Reader, ReaderState};
use crate::observe::{Condition, End};
use crate::syscall::cgroup;

/// The pinned data planes.
#[derive(Debug, Default)]
pub(super) struct Attached {
    planes: Vec<Plane>,
    /// Why they could not be looked at.
    unseen: Option<String>,
}

#[derive(Debug)]
struct Plane {
    /// The path of the cgroup below the mount of cgroup2, without the last slash.
    cgroup: String,
    flags: Vec<String>,
    /// What is known of the processes that read; none where they are not watched.
    readers: Option<Vec<Reader>>,
}

impl Attached {
    /// Looks. What cannot be seen is a finding, not a failure.
    pub(super) fn read(pins: &PinArgs) -> Self {
        match planes(pins) {
            Ok(planes) => Self { planes, unseen: None },
            Err(error) => Self { planes: Vec::new(), unseen: Some(error.to_string()) },
        }
    }

    /// The data plane whose cgroup contains the process.
    fn of(&self, end: &End) -> Option<&Plane> {
        self.planes.iter().find(|plane| plane.contains(end))
    }

    /// Whether blocking readers are accelerated, too.
    pub(super) fn any_reader(&self, ends: &[End; 2]) -> bool {
        ends.iter().all(|end| self.of(end).is_some_and(|plane| plane.flags.iter().any(|flag| flag == "--readers=any")))
    }

    /// What must hold of the ends.
    pub(super) fn conditions(&self, ends: &[End; 2]) -> Vec<Condition> {
        if self.planes.is_empty() {
            let finding = match &self.unseen {
                Some(why) => format!("It cannot be seen whether a data plane is attached: {why}."),
                None => "No data plane is pinned on this machine.".into(),
            };
            let remedy =
                Some("attach one with `sidestep run --cgroup PATH`; one that runs with --unpinned is not seen here");
            return vec![Condition { code: "attached", holds: false, finding, remedy }];
        }
        let mut found = Vec::new();
        for (code, name, end) in [("client_in_cgroup", "client", &ends[0]), ("server_in_cgroup", "server", &ends[1])] {
            let own = end.cgroup.as_deref().unwrap_or("a cgroup that cannot be read");
            let (holds, finding) = match self.of(end) {
                Some(plane) => {
                    (true, format!("The {name} is in {own}, inside {}/, to which sidestep is attached.", plane.cgroup))
                }
                None => (false, format!("The {name} is in {own}, outside the cgroups to which sidestep is attached.")),
            };
            let remedy = (!holds).then_some("attach to a cgroup that contains both ends");
            found.push(Condition { code, holds, finding, remedy });
        }
        for (code, name, end) in [("client_trusted", "client", &ends[0]), ("server_trusted", "server", &ends[1])] {
            if let Some(readers) = self.of(end).and_then(|plane| plane.readers.as_ref()) {
                found.push(trust(code, name, end, readers));
            }
        }
        found
    }
}

/// What is known of how the end's process reads. A process that has an end open may be another than the one that reads.
fn trust(code: &'static str, name: &str, end: &End, readers: &[Reader]) -> Condition {
    let End { process, pid, .. } = end;
    let known = readers.iter().filter(|reader| reader.process == *pid).max_by_key(|reader| reader.start);
    let (holds, finding, remedy) = match known {
        Some(reader) if reader.state == ReaderState::Splicer => (
            false,
            format!("The {name} ({process}, process {pid}) reads with splice(2), which would lose redirected bytes."),
            Some("nothing: what it receives comes by the stack"),
        ),
        Some(reader) if reader.proven == u32::MAX => {
            (true, format!("The {name} ({process}, process {pid}) is trusted to read without splice(2)."), None)
        }
        Some(reader) if reader.proven > 0 => (
            true,
            format!(
                "The {name} ({process}, process {pid}) has proven that it reads {} bytes in a row without splice(2).",
                reader.proven
            ),
            None,
        ),
        Some(reader) => (
            false,
            format!("The {name} ({process}, process {pid}) is on probation: it has received {} times.", reader.seen),
            Some("traffic ends the probation; or name the program with --trust"),
        ),
        None => (
            false,
            format!("The {name} ({process}, process {pid}) has not been seen to receive."),
            Some("traffic begins its probation; or name the program with --trust"),
        ),
    };
    Condition { code, holds, finding, remedy }
}

impl Plane {
    fn contains(&self, end: &End) -> bool {
        let rest = end.cgroup.as_deref().and_then(|path| path.strip_prefix(self.cgroup.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn planes(pins: &PinArgs) -> Result<Vec<Plane>, Error> {
    if pins.bpffs.is_none() && !Pins::are_possible()? {
        return Ok(Vec::new());
    }
    let mount = cgroup::find()?;
    let mut planes = Vec::new();
    for instance in pins.find(false)?.instances()? {
        let Some(record) = instance.record()? else { continue };
        let below = mount.as_deref().and_then(|mount| record.cgroup.strip_prefix(mount).ok()).unwrap_or(&record.cgroup);
        planes.push(Plane { cgroup: path(below), flags: record.flags, readers: instance.readers()? });
    }
    // The innermost says most.
    planes.sort_by_key(|plane| std::cmp::Reverse(plane.cgroup.len()));
    Ok(planes)
}

/// As /proc/PID/cgroup shows it, but for the root, which is empty.
fn path(below: &Path) -> String {
    let text = below.display().to_string();
    let text = text.trim_matches('/');
    if text.is_empty() { String::new() } else { format!("/{text}") }
}
