//! Replacing what is attached, under traffic.
//!
//! Programs of equal layout take each other's place on the same maps: the verdict in its array, the sock_ops program in
//! the link (BPF_LINK_UPDATE). Either change is atomic and reaches every connection at once. Between the two, old and
//! new programs serve the same maps, which is what equal layouts are for.
//!
//! A new layout takes new maps. The link then moves to a new generation in one call: later connections are of the
//! new one, and those of the old one go back to the stack and leave, as at detach.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::attach::{Outcome, Request};
use super::cgroups::Place;
use super::generation::{DRAIN, Generation, RECORD, REPLACED, SK_MSG, SOCK_OPS, TALLY, pending, watching_link};
use super::lock::{DirectoryLock, try_lock};
use super::{Instance, Record, Steps};
use crate::agent::Snapshot;
use crate::agent::drain::members;
use crate::agent::error::{Context, Error, Result};
use crate::agent::load::Loaded;
use crate::dataplane::{Config, MapRole, Member};
use crate::syscall::{Map, bpffs};

/// How often one who does not hold the lock looks at what is attached, while an upgrade to other maps removes that under the look.
const LOOKS: usize = 10;
/// Between two of these looks.
const AGAIN: Duration = Duration::from_millis(20);

impl Instance {
    /// Replaces what is attached by what is asked for. Fails when nothing is attached.
    pub fn upgrade(&self, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        self.refuse_older()?;
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Err(self.not_attached()) };
        match self.reconcile(request.drain, false, steps)?.live {
            Some((_, generation)) => self.replace(&generation, request, steps),
            None => Err(self.not_attached()),
        }
    }

    /// The record of what is attached; none when nothing is.
    pub fn record(&self) -> Result<Option<Record>> {
        self.live_generation()?.map(|generation| generation.record()).transpose()
    }

    /// The configuration of what is attached; none when nothing is, or it is of another layout.
    pub fn config(&self) -> Result<Option<Config>> {
        let Some(generation) = self.live_generation()? else { return Ok(None) };
        Ok(generation.config()?.map(|config| Config { enabled: true, ..config }))
    }

    /// The counters of what is attached, and how many sockets are in its map; none when nothing is attached.
    pub fn look(&self) -> Result<Option<(Snapshot, usize)>> {
        self.at_live(|generation| {
            let (snapshot, sockets) = (generation.snapshot()?, generation.map(MapRole::Sockets.name())?);
            snapshot.zip(sockets).map(|(snapshot, sockets)| Ok((snapshot, members(&sockets)?))).transpose()
        })
    }

    /// What a look at the attached generation finds, for those who do not hold the lock.
    pub(super) fn at_live<T>(&self, look: impl Fn(&Generation) -> Result<Option<T>>) -> Result<Option<T>> {
        for _ in 0..LOOKS {
            let Some(generation) = self.live_generation()? else { return Ok(None) };
            let found = look(&generation)?;
            if found.is_some() || generation.dir().exists() {
                return Ok(found);
            }
            sleep(AGAIN);
        }
        Ok(None)
    }

    /// The attached generation, for those who do not hold the lock.
    pub(super) fn live_generation(&self) -> Result<Option<Generation>> {
        // An upgrade renames pins meanwhile, which one look can miss but not several.
        for _ in 0..10 {
            let Some((_, info)) = self.attached_link()? else { return Ok(None) };
            if let Some(generation) = self.generation_of(info.prog_id)? {
                return Ok(Some(generation));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(None)
    }

    /// Where its cgroup was when its newest generation was made; none when it has none.
    pub fn recorded_cgroup(&self) -> Result<Option<PathBuf>> {
        self.generations()?.last().map(|generation| Ok(generation.record()?.cgroup)).transpose()
    }

    pub(super) fn replace(&self, old: &Generation, request: &Request<'_>, steps: Steps<'_>) -> Result<Outcome> {
        if old.is(request)? {
            return Ok(Outcome::Already);
        }
        // Those that opt out are found by the links of their generation.
        let in_place = !request.plane.options.policy.opt_out && !request.plane.options.policy.trust.cgroups;
        if in_place && old.record()?.layout == request.plane.layout() {
            old.replace_programs(&self.places()?, request, steps)?;
            return Ok(Outcome::Replaced);
        }
        let loaded = Loaded::new(request.plane, request.config)?;
        self.add_generation(&loaded, request, steps)?;
        for place in self.places()?.iter().filter(|place| !place.is_dead()) {
            place.link.update(loaded.sock_ops.as_fd(), None)?;
            steps("link moved");
        }
        Ok(Outcome::Superseded { left: old.retire(request.drain, false, steps)? })
    }

    /// Sends connections back to the stack while the others go on: those that have an end of which `chosen` is true, for example
    /// because a new policy forbids them. Waits at most `timeout` for redirected bytes to be read. Returns how many sockets are
    /// left in the sockhash: they use the stack. In the sticky tier this is an error.
    pub fn leave(&self, chosen: &dyn Fn(&Member) -> bool, timeout: Duration) -> Result<usize> {
        let Some(_lock) = DirectoryLock::take(self.dir(), false)? else { return Ok(0) };
        match self.live_generation()? {
            Some(generation) => generation.leave(chosen, timeout),
            None => Ok(0),
        }
    }

    /// Sends sockets that older generations still hold back to plain TCP, those that can go now; what an upgrade could not wait
    /// for. Returns how many are left. While a change is under way, which does the same, it does nothing.
    pub fn tidy(&self) -> Result<usize> {
        match try_lock(self.dir())? {
            Some(_lock) => Ok(self.reconcile(Duration::ZERO, false, &mut |_| {})?.left),
            None => Ok(0),
        }
    }

    pub(super) fn not_attached(&self) -> Error {
        Error::Conflict {
            what: format!("nothing is attached to this cgroup ({} is not there)", self.link().display()),
            remedy: "use `sidestep attach`",
        }
    }
}

impl Generation {
    fn replace_programs(&self, places: &[Place], request: &Request<'_>, steps: Steps<'_>) -> Result<()> {
        let maps: Vec<Map> = request
            .plane
            .maps
            .iter()
            .map(|def| Map::from_pin(&self.path(def.role.name())))
            .collect::<crate::syscall::Result<_>>()?;
        let loaded = Loaded::into_maps(request.plane, maps)?;
        let new = |name: &str| self.path(&pending(name));
        loaded.sock_ops.pin(&new(SOCK_OPS))?;
        loaded.sk_msg.pin(&new(SK_MSG))?;
        if let Some(drain) = &loaded.drain {
            drain.pin(&new(DRAIN))?;
        }
        if let Some(tally) = &loaded.tally {
            tally.program.pin(&new(TALLY))?;
        }
        for watching in &loaded.watching {
            watching.program.pin(&new(watching.name))?;
            // For a moment both old and new see each receive, which counts for two.
            watching.attach()?.pin(&new(watching_link(watching.name)))?;
        }
        request.record()?.write()?.pin(&new(RECORD))?;
        steps("new programs pinned");
        loaded.decide()?;
        steps("verdict replaced");
        loaded.configure(request.config)?;
        steps("configured");
        for place in places.iter().filter(|place| !place.is_dead()) {
            place.link.update(loaded.sock_ops.as_fd(), None).context("replace the sock_ops program")?;
            steps("link updated");
        }
        for name in REPLACED.into_iter().filter(|name| new(name).exists()) {
            bpffs::rename(&new(name), &self.path(name))?;
            steps("pin replaced");
        }
        Ok(())
    }
}
