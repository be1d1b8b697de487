//! What is attached, and what that means for a connection.

use std::path::PathBuf;

use super::admission::{Admission, innermost, role};
use super::cgroups::below_mount;
use super::error::Error;
use super::plane::PlaneArgs;
use super::target::PinArgs;
use crate::agent::lifecycle::Pins;
use crate::dataplane::{Reader, ReaderState};
use crate::observe::{Condition, End, Ruling};
use crate::sockets::{Connection, Record};
use crate::syscall::cgroup::{self, Cgroup};

/// The pinned data planes.
#[derive(Debug, Default)]
pub(super) struct Attached {
    planes: Vec<Plane>,
    /// Why they could not be looked at.
    pub(super) unseen: Option<String>,
}

#[derive(Debug)]
struct Plane {
    /// The paths of its cgroups below the mount of cgroup2, without the last slash.
    cgroups: Vec<String>,
    /// Whether it has others, of which this process may not see where they are.
    has_hidden: bool,
    /// Its policy; none when a later version has other flags.
    policy: Option<Admission>,
    /// What is known of the processes that read; none where they are not watched.
    readers: Option<Vec<Reader>>,
    /// The ports of listeners whose new connections are left alone while an agent adopts.
    left_alone: Vec<u16>,
    /// Whether a `sidestep run` is there, which adopts.
    has_owner: bool,
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

    /// The policy that holds for the end.
    fn policy(&self, end: &End) -> Option<&Admission> {
        self.of(end).and_then(|(plane, _)| plane.policy.as_ref())
    }

    /// Whether blocking readers are accelerated, too.
    pub(super) fn any_reader(&self, ends: &[End; 2]) -> bool {
        ends.iter().all(|end| self.policy(end).is_some_and(Admission::takes_any_reader))
    }

    /// What is attached says of a connection: by another policy, if one is given, and by what is known of the readers.
    pub(super) fn ruling(&self, other: Option<&Admission>, ends: &[End; 2], connection: &Connection) -> Ruling {
        let policies = ends.each_ref().map(|end| other.or_else(|| self.policy(end)));
        let [client, server] = ends;
        let sides = [(false, client, &connection.client), (true, server, &connection.server)];
        let mut refusals = Vec::new();
        for ((is_server, end, record), policy) in sides.into_iter().zip(policies) {
            if let Some(finding) = policy.and_then(|policy| policy.refusal(is_server, end, record)) {
                let remedy = if other.is_some() { "other flags admit it" } else { CHANGE };
                refusals.push(Condition { code: "policy", holds: false, finding, remedy: Some(remedy) });
                // One reason for the connection, whichever end it is.
                break;
            }
        }
        for (is_server, end) in [(false, client), (true, server)] {
            let readers = self.of(end).and_then(|(plane, _)| plane.readers.as_deref());
            refusals.extend(readers.filter(|all| splices(end, all)).map(|all| trust(is_server, end, all)));
        }
        Ruling {
            refusals,
            any_reader: policies.iter().all(|policy| policy.is_some_and(Admission::takes_any_reader)),
            kept: [false, true]
                .map(|is_server| policies[usize::from(is_server)].is_some_and(|one| one.keeps(is_server))),
        }
    }

    /// What must hold of the ends; whether their sockets are of no pair in any data plane, so that they may have been left alone.
    pub(super) fn conditions(&self, ends: &[End; 2], connection: &Connection, were_in_no_pair: bool) -> Vec<Condition> {
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
            found.extend(self.policy(end).map(|policy| admission(policy, is_server, end, record)));
        }
        let port = connection.server.local.port();
        let of_server = self.of(server).filter(|(plane, _)| were_in_no_pair && plane.left_alone.contains(&port));
        found.extend(of_server.map(|(plane, _)| Condition {
            code: "listener_announces",
            holds: false,
            finding: format!(
                "The last connections to a listener of port {port} ended before they could gain, so most new ones are left alone at first."
            ),
            remedy: Some(if plane.has_owner {
                "nothing: `sidestep run` takes in those that live longer at its next look, mostly within 2 seconds"
            } else {
                "a running `sidestep run` takes in those that live longer"
            }),
        }));
        for (is_server, end) in [(false, client), (true, server)] {
            if let Some(readers) = self.of(end).and_then(|(plane, _)| plane.readers.as_ref()) {
                found.push(trust(is_server, end, readers));
            }
        }
        found
    }
}

/// What is known of how the end's process reads. A process that has an end open may be another than the one that reads.
fn known<'a>(end: &End, readers: &'a [Reader]) -> Option<&'a Reader> {
    readers.iter().filter(|reader| reader.process == end.pid).max_by_key(|reader| reader.start)
}

fn splices(end: &End, readers: &[Reader]) -> bool {
    known(end, readers).is_some_and(|reader| reader.state == ReaderState::Splicer)
}

fn trust(is_server: bool, end: &End, readers: &[Reader]) -> Condition {
    let End { process, pid, .. } = end;
    let (code, name) = (if is_server { "server_trusted" } else { "client_trusted" }, role(is_server));
    let (holds, finding, remedy) = match known(end, readers) {
        Some(reader) if reader.state == ReaderState::Splicer => (
            false,
            format!("The {name} ({process}, process {pid}) reads with splice(2), which would lose redirected bytes."),
            Some("nothing: what it receives comes by the stack"),
        ),
        Some(reader) if reader.state == ReaderState::New => (
            false,
            format!("No agent has admitted the {name} ({process}, process {pid}) to probation."),
            Some(
                "`sidestep run` admits programs, and its log says which ones it does not; or name the program with --trust",
            ),
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

/// What changes the policy of what is attached.
const CHANGE: &str = "`sidestep upgrade`, or the configuration file and `sidestep reload`, change the policy";

/// Whether the policy admits the end.
fn admission(policy: &Admission, is_server: bool, end: &End, record: &Record) -> Condition {
    let refusal = policy.refusal(is_server, end, record);
    Condition {
        code: if is_server { "server_admitted" } else { "client_admitted" },
        holds: refusal.is_none(),
        remedy: refusal.is_some().then_some(CHANGE),
        finding: refusal.unwrap_or_else(|| format!("The policy admits the {}'s port and addresses.", role(is_server))),
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
        let attached = instance.cgroups()?;
        let has_hidden = attached.iter().any(|cgroup| cgroup.path.is_none());
        // The first one has left its path when sidestep was attached.
        let first = has_hidden.then_some(record.cgroup);
        let path = |cgroup: PathBuf| below_mount(&cgroup.display().to_string(), mount.as_slice());
        let opted_out = record.opted_out.iter().filter_map(|id| Cgroup::from_id(*id).ok().flatten());
        let opted_out = opted_out.map(|cgroup| path(cgroup.path().to_owned())).collect();
        planes.push(Plane {
            cgroups: attached.into_iter().filter_map(|cgroup| cgroup.path).chain(first).map(path).collect(),
            has_hidden,
            policy: PlaneArgs::recall(&record.flags).and_then(|flags| Admission::of(&flags, opted_out)).ok(),
            readers: instance.readers()?,
            left_alone: instance.left_alone()?,
            has_owner: instance.has_owner()?,
        });
    }
    Ok(planes)
}
