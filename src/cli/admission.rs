//! What a policy says of the ends of a connection.

use super::cgroups::below;
use super::error::Error;
use super::plane::PlaneArgs;
use crate::dataplane::{Direction, Policy};
use crate::observe::End;
use crate::sockets::Record;

/// A policy, for looking at connections that there are.
#[derive(Debug)]
pub(super) struct Admission {
    policy: Policy,
    /// Its flags.
    given: String,
    /// The paths of the cgroups that have opted out, below the mount of cgroup2 and without the last slash.
    opted_out: Vec<String>,
    any_reader: bool,
}

impl Admission {
    /// What these flags ask for, with the cgroups that have opted out.
    pub(super) fn of(plane: &PlaneArgs, opted_out: Vec<String>) -> Result<Self, Error> {
        Ok(Self {
            policy: plane.policy().policy()?,
            given: plane.policy().given().join(" "),
            opted_out,
            any_reader: plane.takes_any_reader(),
        })
    }

    /// Why the client's end or, of the `is_server`, the server's end is left alone, in one sentence.
    pub(super) fn refusal(&self, is_server: bool, end: &End, record: &Record) -> Option<String> {
        let name = role(is_server);
        if let Some(cgroup) = innermost(&self.opted_out, end) {
            return Some(format!("The {name} is inside {cgroup}/, which has opted out (--exclude-cgroup)."));
        }
        let (local, remote) = (record.local, record.remote);
        let admits = self.policy.admits(is_server, local, remote);
        (!admits).then(|| format!("The policy ({}) does not admit the {name}'s end, {local} to {remote}.", self.given))
    }

    /// Whether messages of that end take the stack all the same (`--direction`).
    pub(super) fn keeps(&self, is_server: bool) -> bool {
        matches!((self.policy.direction, is_server), (Direction::ToActive, false) | (Direction::ToPassive, true))
    }

    /// Whether pairs with blocking readers are accelerated, too.
    pub(super) const fn takes_any_reader(&self) -> bool {
        self.any_reader
    }
}

/// The word for an end.
pub(super) const fn role(is_server: bool) -> &'static str {
    if is_server { "server" } else { "client" }
}

/// The innermost of these cgroups that contains the process.
pub(super) fn innermost<'a>(cgroups: &'a [String], end: &End) -> Option<&'a str> {
    let path = end.cgroup.as_deref()?;
    let holding = cgroups.iter().map(String::as_str).filter(|cgroup| below(path, cgroup).is_some());
    holding.max_by_key(|cgroup| cgroup.len())
}
