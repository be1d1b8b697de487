//! What is attached, and what that means for one connection.

use std::path::PathBuf;

use crate::agent::lifecycle::Pins;
use crate::cli::cgroups::{below, below_mount};
use crate::cli::error::Error;
use crate::cli::plane::PlaneArgs;
use crate::cli::target::PinArgs;
use crate::dataplane::{Reader, ReaderState};
use crate::observe::{Condition, End};
use crate::sockets::{Connection, Record};
use crate::syscall::cgroup::{self, Cgroup};

/// The pinned data planes.
#[derive(Debug, Default)]
pub(super) struct Attached {
    planes: Vec<Plane>,
    /// Why they could not be looked at.
    unseen: Option<String>,
}

#[derive(Debug)]
struct Plane {
    /// The paths of its cgroups below the mount of cgroup2, without the last slash.
    cgroups: Vec<String>,
    /// Whether it has others, of which this process may not see where they are.
    has_hidden: bool,
    /// Those that have opted out, likewise.
    opted_out: Vec<String>,
    /// What it was asked for; none when a later version has other flags.
    flags: Option<PlaneArgs>,
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

    /// The data plane of the innermost cgroup that contains the process, and this cgroup.
    fn of(&self, end: &End) -> Option<(&Plane, &str)> {
        let found = self.planes.iter().filter_map(|plane| Some((plane, innermost(&plane.cgroups, end)?)));
        found.max_by_key(|(_, cgroup)| cgroup.len())
    }

    /// Whether blocking readers are accelerated, too.
    pub(super) fn any_reader(&self, ends: &[End; 2]) -> bool {
        let any = |plane: &Plane| plane.flags.as_ref().is_some_and(PlaneArgs::takes_any_reader);
        ends.iter().all(|end| self.of(end).is_some_and(|(plane, _)| any(plane)))
    }

    /// What must hold of the ends.
    pub(super) fn conditions(&self, ends: &[End; 2], connection: &Connection) -> Vec<Condition> {
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
                Some((_, cgroup)) => {
                    (true, format!("The {name} is in {own}, inside {cgroup}/, to which sidestep is attached."))
                }
                None => {
                    let seen = if self.planes.iter().any(|plane| plane.has_hidden) {
                        " that this process may see"
                    } else {
                        ""
                    };
                    (false, format!("The {name} is in {own}, outside the cgroups{seen} to which sidestep is attached."))
                }
            };
            let remedy = (!holds).then_some("attach to a cgroup that contains both ends");
            found.push(Condition { code, holds, finding, remedy });
        }
        let [client, server] = ends;
        for (is_server, end, record) in [(false, client, &connection.client), (true, server, &connection.server)] {
            found.extend(self.of(end).and_then(|(plane, _)| plane.admission(is_server, end, record)));
        }
        for (code, name, end) in [("client_trusted", "client", client), ("server_trusted", "server", server)] {
            if let Some(readers) = self.of(end).and_then(|(plane, _)| plane.readers.as_ref()) {
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
    /// Whether the flags of the policy admit the end.
    fn admission(&self, is_server: bool, end: &End, record: &Record) -> Option<Condition> {
        let (code, name) = if is_server { ("server_admitted", "server") } else { ("client_admitted", "client") };
        let policy = self.flags.as_ref()?.policy();
        let (local, remote) = (record.local, record.remote);
        let (holds, finding) = match innermost(&self.opted_out, end) {
            Some(cgroup) => (false, format!("The {name} is inside {cgroup}/, which has opted out (--exclude-cgroup).")),
            None if policy.policy().ok()?.admits(is_server, local, remote) => {
                (true, format!("The policy admits the {name}'s port and addresses."))
            }
            None => (
                false,
                format!(
                    "The policy ({}) does not admit the {name}'s end, {local} to {remote}.",
                    policy.given().join(" ")
                ),
            ),
        };
        let remedy = (!holds)
            .then_some("`sidestep upgrade`, or the configuration file and `sidestep reload`, change the policy");
        Some(Condition { code, holds, finding, remedy })
    }
}

/// The innermost of these cgroups that contains the process.
fn innermost<'a>(cgroups: &'a [String], end: &End) -> Option<&'a str> {
    let path = end.cgroup.as_deref()?;
    let holding = cgroups.iter().map(String::as_str).filter(|cgroup| below(path, cgroup).is_some());
    holding.max_by_key(|cgroup| cgroup.len())
}

fn planes(pins: &PinArgs) -> Result<Vec<Plane>, Error> {
    if pins.bpffs.is_none() && !Pins::are_possible()? {
        return Ok(Vec::new());
    }
    let mount = cgroup::find()?;
    let mut planes = Vec::new();
    for instance in pins.find(false)?.instances()? {
        let Some(record) = instance.record()? else { continue };
        let attached = instance.cgroups()?;
        let has_hidden = attached.iter().any(|cgroup| cgroup.path.is_none());
        // The first one has left its path when sidestep was attached.
        let first = has_hidden.then_some(record.cgroup);
        let path = |cgroup: PathBuf| below_mount(&cgroup.display().to_string(), mount.as_slice());
        let opted_out = record.opted_out.iter().filter_map(|id| Cgroup::from_id(*id).ok().flatten());
        planes.push(Plane {
            cgroups: attached.into_iter().filter_map(|cgroup| cgroup.path).chain(first).map(path).collect(),
            has_hidden,
            opted_out: opted_out.map(|cgroup| path(cgroup.path().to_owned())).collect(),
            flags: PlaneArgs::recall(&record.flags).ok(),
            readers: instance.readers()?,
        });
    }
    Ok(planes)
}
