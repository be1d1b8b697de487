//! The cgroups of an instance, each with a link of its own: added and removed while connections run.
//!
//! A socket must not meet our program twice, so a cgroup is not attached when one above it is: that one's program runs for
//! it already.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::generation::{Generation, SOCK_OPS, present};
use super::lock::DirectoryLock;
use super::pins::Pins;
use super::{Instance, State, Steps};
use crate::agent::acceleration::attach_cgroup;
use crate::agent::attachment::OnCgroup;
use crate::agent::error::{Error, Result};
use crate::agent::leave::is_within;
use crate::agent::problem::Problem;
use crate::dataplane::Member;
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Errno, Link, LinkDetail, LinkInfo, bpffs};

/// How the pins of links begin; behind it is the cgroup's ID. The link of the cgroup that gave the instance its name has only
/// the word before the line.
const PREFIX: &str = "link_";

/// A cgroup of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttachedCgroup {
    /// The kernel's number of it.
    pub id: u64,
    /// Where it is; none when it was removed, or this process may not ask, which takes CAP_DAC_READ_SEARCH.
    pub path: Option<PathBuf>,
    /// Whether our program runs for its sockets.
    pub state: State,
    /// The link on it.
    pub link: u32,
}

/// What [`Instance::add_cgroup`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added {
    /// Connections made from now on are accelerated.
    Added,
    /// It was attached already.
    Already,
    /// It is inside a cgroup that is attached already.
    Covered(PathBuf),
}

/// What [`Instance::remove_cgroup`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Whether it was attached.
    pub found: bool,
    /// Sockets of it that are still in the sockhash, because bytes are unread: they use the stack.
    pub left: usize,
}

/// The place of our program on one cgroup.
pub(super) struct Place {
    pub(super) cgroup_id: u64,
    pub(super) pin: PathBuf,
    pub(super) link: Link,
    pub(super) info: LinkInfo,
}

impl Place {
    /// Whether the kernel, or another tool, has detached it.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.info.detail, LinkDetail::Cgroup { cgroup_id: 0, .. })
    }

    /// What is wrong with it, when it should hold a program for which `is_own` is true.
    pub(super) fn problem(&self, is_own: impl FnOnce(u32) -> bool) -> Option<Problem> {
        OnCgroup { link: &self.info, cgroup_id: self.cgroup_id, cgroup: None }.problem(is_own)
    }

    /// Where the cgroup is, as far as this process can see it.
    pub(super) fn path(&self) -> Option<PathBuf> {
        Cgroup::from_id(self.cgroup_id).ok().flatten().map(|cgroup| cgroup.path().to_owned())
    }

    /// Detaches the link, and removes its pin.
    pub(super) fn remove(&self, steps: Steps<'_>) -> Result<()> {
        match self.link.detach() {
            // Its cgroup has gone before it.
            Err(error) if error.errno() == Some(Errno(libc::ENOLINK)) => {}
            done => done?,
        }
        steps("link detached");
        bpffs::unpin(&self.pin)?;
        steps("link unpinned");
        Ok(())
    }

    /// In words.
    fn name(&self) -> PathBuf {
        self.path().unwrap_or_else(|| PathBuf::from(format!("cgroup {}", self.cgroup_id)))
    }
}

impl Pins {
    /// The instance to which the cgroup with this ID belongs, whether it has given it its name or not.
    pub fn instance_of(&self, cgroup_id: u64) -> Result<Option<Instance>> {
        for instance in self.instances()? {
            if instance.link_of(cgroup_id).exists() {
                return Ok(Some(instance));
            }
        }
        Ok(None)
    }
}

impl Instance {
    /// Its cgroups: the one that gave it its name first, if it still has it.
    pub fn cgroups(&self) -> Result<Vec<AttachedCgroup>> {
        let places = self.places()?;
        let describe = |place: &Place| AttachedCgroup {
            id: place.cgroup_id,
            path: place.path(),
            state: match place.problem(|_| true) {
                Some(Problem::CgroupRemoved) => State::CgroupGone,
                Some(Problem::SockOpsDetached) => State::Detached,
                _ => State::Attached,
            },
            link: place.info.id,
        };
        Ok(places.iter().map(describe).collect())
    }

    /// Accelerates the connections inside one more cgroup from now on, and those between it and the others.
    pub fn add_cgroup(&self, cgroup: &Cgroup, steps: Steps<'_>) -> Result<Added> {
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Err(self.not_attached()) };
        match self.reconcile(Duration::ZERO, false, steps)?.live {
            Some((_, generation)) => self.add(&generation, cgroup, steps),
            None => Err(self.not_attached()),
        }
    }

    /// Sends the connections of one cgroup, by its ID, back to the stack without losing a byte, and detaches from it. The
    /// connections of the others go on. Waits at most `timeout` for readers that are behind.
    ///
    /// In the sticky tier this is an error, and so is removing the last one: that is [`Instance::detach`].
    pub fn remove_cgroup(&self, cgroup_id: u64, timeout: Duration, steps: Steps<'_>) -> Result<Removed> {
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Err(self.not_attached()) };
        match self.reconcile(Duration::ZERO, false, steps)?.live {
            Some((_, generation)) => self.remove(&generation, cgroup_id, timeout, steps),
            None => Err(self.not_attached()),
        }
    }

    /// Sends the connections of one cgroup back to the stack, and stays attached to it: a step towards [`Instance::remove_cgroup`]. It
    /// also takes sockets out of the sockhash that the removal, or the end of the cgroup, has left there. Sockets that belong to
    /// another cgroup of the instance as well stay. Returns how many are left; none when there were none.
    pub fn leave_cgroup(&self, cgroup_id: u64, timeout: Duration) -> Result<Option<usize>> {
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Ok(None) };
        let Some(live) = self.live_generation()? else { return Ok(None) };
        let rest = self.places()?.iter().map(|place| place.cgroup_id).filter(|id| *id != cgroup_id).collect();
        let found = Cell::new(false);
        let leaves = |member: &Member| {
            let outside = member.cgroups.contains(&cgroup_id) && !is_within(member, &rest);
            found.set(found.get() || outside);
            outside
        };
        let left = live.leave(&leaves, timeout)?;
        Ok(found.get().then_some(left))
    }

    /// The pin of the link on the cgroup with this ID.
    pub(super) fn link_of(&self, cgroup_id: u64) -> PathBuf {
        if cgroup_id == self.cgroup_id() { self.link() } else { self.dir().join(format!("{PREFIX}{cgroup_id}")) }
    }

    /// All its links: that of the cgroup that gave it its name first, then by ID.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        let own = self.cgroup_id();
        let number = |name: String| match name.strip_prefix(PREFIX) {
            Some(number) => number.parse().ok(),
            None => (name == "link").then_some(own),
        };
        let mut ids: Vec<u64> = bpffs::names(self.dir())?.into_iter().filter_map(number).collect();
        ids.sort_unstable();
        if let Ok(at) = ids.binary_search(&own) {
            ids[..=at].rotate_right(1);
        }
        let mut places = Vec::new();
        for cgroup_id in ids {
            let pin = self.link_of(cgroup_id);
            if let Some(link) = present(Link::from_pin(&pin))? {
                places.push(Place { cgroup_id, pin, info: link.info()?, link });
            }
        }
        Ok(places)
    }

    /// Lets all links hold the sock_ops program of the live generation, where an upgrade of ours was cut short.
    pub(super) fn align(&self, live: &Generation, places: &[Place], steps: Steps<'_>) -> Result<()> {
        let Some(program) = live.program(SOCK_OPS)? else { return Ok(()) };
        let id = program.info()?.id;
        for place in places.iter().filter(|place| !place.is_dead() && place.info.prog_id != id) {
            // What another tool has put there is a problem that `status` shows.
            if self.generation_of(place.info.prog_id)?.is_some() {
                place.link.update(std::os::fd::AsFd::as_fd(&program), None)?;
                steps("link aligned");
            }
        }
        Ok(())
    }

    /// The lock must be held.
    pub(super) fn add(&self, live: &Generation, cgroup: &Cgroup, steps: Steps<'_>) -> Result<Added> {
        let id = cgroup.id()?;
        let places: Vec<Place> = self.places()?.into_iter().filter(|place| !place.is_dead()).collect();
        if places.iter().any(|place| place.cgroup_id == id) {
            return Ok(Added::Already);
        }
        let above = ids_above(cgroup.path());
        if let Some(place) = places.iter().find(|place| above.contains(&place.cgroup_id)) {
            return Ok(Added::Covered(place.name()));
        }
        let is_inside = |place: &&Place| place.path().is_some_and(|path| ids_above(&path).contains(&id));
        if let Some(place) = places.iter().find(is_inside) {
            return Err(Error::Conflict {
                what: format!("{} is inside {}, and is attached", place.name().display(), cgroup.path().display()),
                remedy: "remove that one first with `sidestep cgroup remove`: a socket must not meet the program twice",
            });
        }
        if let Some(other) = self.siblings().instance_of(id)? {
            return Err(Error::Conflict {
                what: format!("{} belongs to another instance, {}", cgroup.path().display(), other.dir().display()),
                remedy: "detach that one first, or remove the cgroup from it with `sidestep cgroup remove`",
            });
        }
        let Some(program) = live.program(SOCK_OPS)? else {
            return Err(Error::Conflict {
                what: Problem::PinMissing(live.path(SOCK_OPS)).to_string(),
                remedy: "then try again",
            });
        };
        let link = attach_cgroup(&program, cgroup)?;
        steps("attached");
        let pin = self.link_of(id);
        // Of a cgroup whose link is dead.
        bpffs::unpin(&pin)?;
        link.pin(&pin)?;
        steps("link pinned");
        Ok(Added::Added)
    }

    /// The lock must be held.
    pub(super) fn remove(
        &self,
        live: &Generation,
        cgroup_id: u64,
        timeout: Duration,
        steps: Steps<'_>,
    ) -> Result<Removed> {
        let deadline = Instant::now() + timeout;
        let places = self.places()?;
        let rest: HashSet<u64> = places.iter().map(|place| place.cgroup_id).filter(|id| *id != cgroup_id).collect();
        if rest.is_empty() {
            return Err(Error::Conflict {
                what: format!("cgroup {cgroup_id} is the only one that is attached"),
                remedy: "use `sidestep detach`",
            });
        }
        let leaves = |member: &Member| !is_within(member, &rest);
        // Before the link goes: callbacks take back what we have set on sockets.
        let mut left = live.leave(&leaves, timeout)?;
        steps("drained");
        let place = places.iter().find(|place| place.cgroup_id == cgroup_id);
        if let Some(place) = place {
            place.remove(steps)?;
            // What was made in the last moment.
            left = live.leave(&leaves, deadline.saturating_duration_since(Instant::now()))?;
            steps("drained again");
        }
        Ok(Removed { found: place.is_some(), left })
    }

    /// Makes these the cgroups of the instance. The lock must be held.
    pub(super) fn set_cgroups(
        &self,
        live: &Generation,
        cgroups: &[&Cgroup],
        timeout: Duration,
        steps: Steps<'_>,
    ) -> Result<()> {
        let mut wanted = HashSet::new();
        for cgroup in cgroups {
            wanted.insert(cgroup.id()?);
        }
        // One that is not wanted may be inside one that is; so those go first, but for the last one.
        let places = self.places()?;
        let (kept, gone): (Vec<_>, Vec<_>) = places.iter().partition(|place| wanted.contains(&place.cgroup_id));
        if kept.is_empty() {
            for cgroup in cgroups {
                self.add(live, cgroup, steps)?;
            }
        }
        for place in gone {
            self.remove(live, place.cgroup_id, timeout, steps)?;
        }
        for cgroup in cgroups {
            self.add(live, cgroup, steps)?;
        }
        Ok(())
    }

    fn siblings(&self) -> Pins {
        Pins::at(self.dir().parent().unwrap_or(self.dir()))
    }
}

/// The IDs of the cgroups above the one at `path`, as far as this process sees them.
fn ids_above(path: &Path) -> Vec<u64> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let opened = path.ancestors().skip(1).map_while(|above| Cgroup::open(above).ok());
    opened.filter_map(|cgroup| cgroup.id().ok()).collect()
}

/// Those that are not inside another one of them, each once: the program of the outer one runs for their sockets, too.
pub fn outermost(cgroups: Vec<Cgroup>) -> Result<Vec<Cgroup>> {
    let mut all = HashSet::new();
    for cgroup in &cgroups {
        all.insert(cgroup.id()?);
    }
    let mut kept: Vec<Cgroup> = Vec::new();
    let mut seen = HashSet::new();
    for cgroup in cgroups {
        if seen.insert(cgroup.id()?) && !ids_above(cgroup.path()).iter().any(|id| all.contains(id)) {
            kept.push(cgroup);
        }
    }
    Ok(kept)
}
