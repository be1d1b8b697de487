//! A running data plane that lasts as long as its owner.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::Duration;

use super::adoption::{Adopted, Adopting, Looks, by_ids};
use super::attachment::{self, OnCgroup};
use super::error::{Context, Error, Result};
use super::leave::{Attached, is_within, leave};
use super::load::{Loaded, Watching};
use super::problem::Problem;
use super::readers::ReaderWatcher;
use super::wake::Waker;
use super::{Snapshot, drain};
use crate::dataplane::{self, Config, DataPlane, MapRole, Member, Options};
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Errno, Link, LinkTarget, Program, prog_attach, prog_detach, prog_query};
use crate::uapi::AttachType;

/// Loaded, attached, and detached again when it goes.
#[derive(Debug)]
pub struct Acceleration {
    loaded: Loaded,
    config: Config,
    cgroup: Cgroup,
    /// Of the sock_ops program, and before it those of cgroups that have opted out.
    sock_ops: Vec<Link>,
    /// Of the sock_ops program, on cgroups that were added, each by its ID.
    cgroups: Vec<(u64, Link)>,
    verdict: Option<Verdict>,
    /// Of the programs that watch readers.
    watching: Vec<Link>,
    /// Who looks after readers.
    watcher: Option<ReaderWatcher>,
}

/// How the sk_msg program hangs on the sockhash.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A link (Linux 6.10); closing it detaches, if it is not pinned.
    Link(Link),
    /// BPF_PROG_ATTACH.
    Legacy,
}

/// Cgroups inside the accelerated one that are not like the others, where the policy says that there are some.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked<'a> {
    /// They are left alone.
    pub opted_out: &'a [Cgroup],
    /// Their readers are trusted by name.
    pub trusted: &'a [Cgroup],
}

impl<'a> Marked<'a> {
    /// The programs that mark, each with its name and the cgroup it goes to.
    pub(super) fn programs(self, loaded: &'a Loaded) -> impl Iterator<Item = (&'static str, &'a Program, &'a Cgroup)> {
        let each = |name, program: &'a Option<Program>, cgroups: &'a [Cgroup]| {
            program.iter().flat_map(move |program| cgroups.iter().map(move |cgroup| (name, program, cgroup)))
        };
        each("opt_out", &loaded.opt_out, self.opted_out).chain(each("trusted", &loaded.trusted, self.trusted))
    }
}

/// What [`Acceleration::stop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detached {
    /// Sockets still in the sockhash because they hold unread redirected bytes. They pass everything to the stack,
    /// and the last program and maps go when they have closed.
    pub remaining: usize,
}

impl Acceleration {
    /// Loads the data plane and attaches it to `cgroup`: connections made from now on are accelerated.
    pub fn start(cgroup: &Cgroup, options: Options, config: Config) -> Result<Self> {
        Self::start_without(cgroup, &[], options, config)
    }

    /// The same, but leaves alone what runs in the cgroups `opted_out`, where the policy says that there are some.
    pub fn start_without(cgroup: &Cgroup, opted_out: &[Cgroup], options: Options, config: Config) -> Result<Self> {
        Self::start_plane(cgroup, Marked { opted_out, trusted: &[] }, &dataplane::build(options)?, config)
    }

    /// The same with a data plane that has been built, and perhaps changed: the sizes of its maps are plain data.
    pub fn start_plane(cgroup: &Cgroup, marked: Marked<'_>, plane: &DataPlane, config: Config) -> Result<Self> {
        let loaded = Loaded::new(plane, config)?;
        // First the verdict: a socket takes the program along when it enters the map.
        let verdict = attach_verdict(&loaded)?;
        let (group, sock_ops, verdict) = (cgroup.try_clone()?, Vec::new(), Some(verdict));
        let (watching, watcher, cgroups) = (Vec::new(), None, Vec::new());
        let mut acceleration = Self { loaded, config, cgroup: group, sock_ops, cgroups, verdict, watching, watcher };
        let loaded = &acceleration.loaded;
        // Readers must be watched from the first byte on.
        acceleration.watching = loaded.watching.iter().map(Watching::attach).collect::<Result<_>>()?;
        acceleration.watcher = loaded.watch_readers(plane.options.policy.trust.programs.clone())?;
        for (_, program, group) in marked.programs(loaded).chain([("", &loaded.sock_ops, cgroup)]) {
            acceleration.sock_ops.push(attach_cgroup(program, group)?);
        }
        Ok(acceleration)
    }

    /// Accelerates the connections inside one more cgroup from now on, and those between it and the others. It may not be inside
    /// one of them, nor they in it: a socket must not meet the program twice.
    pub fn add_cgroup(&mut self, cgroup: &Cgroup) -> Result<()> {
        let id = cgroup.id()?;
        if self.cgroups.iter().any(|(known, _)| *known == id) {
            return Ok(());
        }
        self.cgroups.push((id, attach_cgroup(&self.loaded.sock_ops, cgroup)?));
        Ok(())
    }

    /// Sends the connections of a cgroup that was added, by its ID, back to the stack without losing a byte, and detaches from it.
    /// Returns how many sockets are left in the sockhash after `timeout`: they use the stack.
    pub fn remove_cgroup(&mut self, cgroup_id: u64, timeout: Duration) -> Result<usize> {
        // Before the link goes: callbacks take back what we have set on sockets.
        self.leave_cgroup(cgroup_id, timeout)?;
        self.cgroups.retain(|(id, _)| *id != cgroup_id);
        self.leave_cgroup(cgroup_id, timeout)
    }

    /// Sends the connections of a cgroup back to the stack, and stays attached to it; sockets of those that were removed before
    /// leave, too. Returns how many are left in the sockhash after `timeout`.
    pub fn leave_cgroup(&self, cgroup_id: u64, timeout: Duration) -> Result<usize> {
        let mut rest: HashSet<u64> = self.cgroups.iter().map(|(id, _)| *id).filter(|id| *id != cgroup_id).collect();
        rest.insert(self.cgroup.id()?);
        self.leave(&|member| !is_within(member, &rest), timeout)
    }

    /// Accelerates the connections inside the cgroups that exist already, where they can be proven to be what they seem; see
    /// [`adoption_support`](super::adoption_support). `options` and `marked` are those that it was started with. Looks that
    /// are the same at later calls let connections come back that have left.
    pub fn adopt(&self, options: &Options, marked: Marked<'_>, looks: &mut Looks) -> Result<Adopted> {
        let loaded = &self.loaded;
        let mut cgroups = vec![self.cgroup.try_clone()?];
        cgroups.extend(by_ids(self.cgroups.iter().map(|(id, _)| *id))?);
        let adopting = Adopting {
            sockets: loaded.map(MapRole::Sockets),
            storage: loaded.map(MapRole::Storage),
            config: loaded.map(MapRole::Config),
            counters: loaded.map(MapRole::Counters),
            changes: loaded.map(MapRole::Changes),
            wanted: loaded.map(MapRole::Wanted),
            options,
            cgroups: &cgroups,
            opted_out: marked.opted_out,
            trusted: marked.trusted,
        };
        adopting.adopt(looks)
    }

    /// The cgroup to which it is attached.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The kernel objects.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The counters now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::read(&self.loaded)
    }

    /// The counters without the bytes of connections that live, which takes no look at these.
    pub fn counters(&self) -> Result<Snapshot> {
        Snapshot::of(self.loaded.map(MapRole::Counters))
    }

    /// How many sockets are in the sockhash.
    pub fn members(&self) -> Result<usize> {
        drain::members(self.loaded.map(MapRole::Sockets))
    }

    /// What is wrong: mostly what others have detached, replaced or removed since it was attached.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        let loaded = &self.loaded;
        let mut found = Vec::new();
        if let Some(link) = self.sock_ops.last() {
            let link = link.info().context("look at the cgroup link")?;
            let own = loaded.sock_ops.info().context("look at the sock_ops program")?.id;
            let cgroup_id = self.cgroup.id()?;
            let place = OnCgroup { link: &link, cgroup_id, cgroup: Some(&self.cgroup) };
            found.extend(place.problem(|id| id == own));
        }
        let sockets = loaded.map(MapRole::Sockets);
        let dispatcher = loaded.dispatcher.info().context("look at the sk_msg program")?.id;
        match &self.verdict {
            Some(Verdict::Link(link)) => found.extend(attachment::on_sockhash(sockets, dispatcher, Some(link))?),
            Some(Verdict::Legacy) => found.extend(attachment::on_sockhash(sockets, dispatcher, None)?),
            None => {}
        }
        found.extend(Problem::of_members(self.members()?, sockets.max_entries()));
        Ok(found)
    }

    /// Turns the soft switch: off, every message takes the stack and no connection is enrolled.
    pub fn set_enabled(&mut self, enabled: bool) -> Result<()> {
        self.config.enabled = enabled;
        self.loaded.configure(self.config)
    }

    /// Sends connections back to the stack while the others go on: those that have an end of which `chosen` is true. Waits at
    /// most `timeout` for redirected bytes to be read. Returns how many sockets are left in the sockhash: they use the stack.
    pub fn leave(&self, chosen: &dyn Fn(&Member) -> bool, timeout: Duration) -> Result<usize> {
        let loaded = &self.loaded;
        let attached = Attached {
            sockets: loaded.map(MapRole::Sockets),
            storage: loaded.map(MapRole::Storage),
            config: loaded.map(MapRole::Config),
            drain: loaded.drain.as_ref(),
            watches: !loaded.watching.is_empty(),
        };
        leave(&attached, chosen, timeout)
    }

    /// Attaches or detaches the programs that watch readers, for a benchmark of what they cost others. A process is not seen
    /// to read or to splice meanwhile: only for programs that do not splice.
    #[cfg(feature = "bench")]
    pub(crate) fn set_watching(&mut self, on: bool) -> Result<()> {
        self.watching.clear();
        if on {
            self.watching = self.loaded.watching.iter().map(Watching::attach).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Admits no process from now on: readers stay on probation.
    #[cfg(feature = "bench")]
    pub(crate) fn admit_none(&mut self) {
        self.watcher = None;
    }

    /// Detaches without losing a byte: no new connections, all messages by the stack, wait up to `timeout` for the
    /// redirected bytes to be read, then nothing is left in the kernel.
    pub fn stop(mut self, timeout: Duration) -> Result<Detached> {
        self.shut_down(timeout)
    }

    fn shut_down(&mut self, timeout: Duration) -> Result<Detached> {
        // With the switch off no socket is added, and the callbacks still give back what they have set on sockets.
        self.config.spare_armed = true;
        self.set_enabled(false)?;
        let sockets = self.loaded.map(MapRole::Sockets);
        let wakes = Waker::is_needed(self.config, !self.watching.is_empty());
        let remaining = drain::drain(sockets, self.loaded.drain.as_ref(), timeout, wakes)?;
        self.sock_ops.clear();
        self.cgroups.clear();
        self.watcher = None;
        self.watching.clear();
        if let Some(Verdict::Legacy) = self.verdict.take() {
            match prog_detach(sockets.as_fd(), self.loaded.dispatcher.as_fd(), AttachType::SK_MSG_VERDICT) {
                // What another program has detached or replaced is gone already. The map cannot be asked before 5.15.
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                gone => gone.context("detach the sk_msg program")?,
            }
        }
        Ok(Detached { remaining })
    }
}

impl Drop for Acceleration {
    fn drop(&mut self) {
        if self.verdict.is_some() {
            // Dropped without stop, on an error path: the soft switch at least, and no long wait. A failure here
            // cannot be reported.
            let _ = self.shut_down(Duration::ZERO);
        }
    }
}

/// Attaches a sock_ops program to a cgroup, beside whatever is there.
pub(super) fn attach_cgroup(program: &Program, cgroup: &Cgroup) -> Result<Link> {
    Link::create(program.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS)
        .map_err(|error| conflict(cgroup, error))
}

/// Attaches the dispatcher to the sockhash.
pub(super) fn attach_verdict(loaded: &Loaded) -> Result<Verdict> {
    let map = loaded.map(MapRole::Sockets);
    let program = loaded.dispatcher.as_fd();
    match Link::create(program, LinkTarget::Fd(map.as_fd()), AttachType::SK_MSG_VERDICT) {
        Ok(link) => Ok(Verdict::Link(link)),
        // Before 6.10 there is no such link, which the kernel says in several ways; the older call is the answer.
        Err(_) => {
            prog_attach(map.as_fd(), program, AttachType::SK_MSG_VERDICT)
                .context("attach the sk_msg program to the sockhash")?;
            Ok(Verdict::Legacy)
        }
    }
}

/// Names the programs that hold the cgroup when ours may not join them.
fn conflict(cgroup: &Cgroup, error: crate::syscall::Error) -> Error {
    let holders = prog_query(cgroup.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap_or_default();
    if holders.is_empty() {
        return Error::Context { action: "attach the sock_ops program to the cgroup", source: error };
    }
    let names = holders.iter().map(|id| format!("program {id}")).collect::<Vec<_>>().join(", ");
    Error::Unsupported {
        what: "the sock_ops program cannot be attached to the cgroup",
        why: format!("{error} (there already: {names})"),
        remedy: "a program attached without BPF_F_ALLOW_MULTI excludes others; detach it, or attach it again with that flag",
    }
}
