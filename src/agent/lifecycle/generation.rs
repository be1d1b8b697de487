//! One generation: the maps and programs of one load, pinned together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pins::number_after;
use super::record::Record;
use super::{Instance, Request, Steps};
use crate::agent::acceleration::{Verdict, attach_cgroup, attach_verdict};
use crate::agent::attachment;
use crate::agent::drain::drain;
use crate::agent::error::{Context, Result};
use crate::agent::kernel::tally_over;
use crate::agent::leave::{Attached, leave};
use crate::agent::load::{Loaded, RECEIVES, SPLICES, set_verdict};
use crate::agent::problem::Problem;
use crate::agent::tally::Tally;
use crate::agent::wake::Waker;
use crate::agent::{Snapshot, kernel_offsets};
use crate::dataplane::{Config, MapRole, Member};
use crate::syscall::{Errno, Link, Map, Program, UpdateFlags, bpffs};

pub(super) const SOCK_OPS: &str = "sock_ops";
pub(super) const SK_MSG: &str = "sk_msg";
pub(super) const DISPATCHER: &str = "dispatcher";
pub(super) const DRAIN: &str = "drain";
pub(super) const TALLY: &str = "tally";
/// The program of cgroups that opt out, and the beginning of the names of its links to them.
pub(super) const OPT_OUT: &str = "opt_out";
/// The same of cgroups that are trusted.
pub(super) const TRUSTED: &str = "trusted";
pub(super) const RECORD: &str = "record";
/// The dispatcher's place on the sockhash; before Linux 6.10 there is no such link, and the map itself holds the
/// dispatcher.
pub(super) const SK_MSG_LINK: &str = "sk_msg_link";

/// What an upgrade replaces in place, in the order in which the new ones take their names: until the last has, the
/// link's program is under its new name, so that the generation stays the live one.
pub(super) const REPLACED: [&str; 9] =
    [RECEIVES_LINK, SPLICES_LINK, RECEIVES, SPLICES, DRAIN, TALLY, RECORD, SK_MSG, SOCK_OPS];
/// The links of the programs that watch readers.
pub(super) const RECEIVES_LINK: &str = "receives_link";
pub(super) const SPLICES_LINK: &str = "splices_link";

/// The link of one of them.
pub(super) fn watching_link(program: &str) -> &'static str {
    if program == RECEIVES { RECEIVES_LINK } else { SPLICES_LINK }
}

/// A directory of pins.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    dir: PathBuf,
}

impl Instance {
    /// The generations, the oldest first.
    pub(super) fn generations(&self) -> Result<Vec<Generation>> {
        let mut numbers: Vec<u64> =
            bpffs::names(self.dir())?.iter().filter_map(|name| number_after('g', name)).collect();
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(|number| Generation { dir: self.dir().join(format!("g{number}")) }).collect())
    }

    /// The generation whose sock_ops program has this id.
    pub(super) fn generation_of(&self, program: u32) -> Result<Option<Generation>> {
        for generation in self.generations()? {
            if generation.has_sock_ops(program)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// Pins a data plane as a new generation. Nothing uses it until the link holds its sock_ops program.
    pub(super) fn add_generation(
        &self,
        loaded: &Loaded,
        request: &Request<'_>,
        steps: Steps<'_>,
    ) -> Result<Generation> {
        let last = self.generations()?.last().and_then(|last| number_after('g', &last.name()));
        let staging = self.staging_path();
        let place = self.dir().join(format!("g{}", last.unwrap_or(0) + 1));
        let made = pin_all(loaded, request, &staging, steps).and_then(|()| Ok(bpffs::rename(&staging, &place)?));
        if made.is_err() {
            // Its reason counts; what this leaves is removed by the next change.
            let _ = bpffs::remove_directory(&staging);
        }
        made?;
        steps("generation named");
        Ok(Generation { dir: place })
    }
}

fn pin_all(loaded: &Loaded, request: &Request<'_>, dir: &Path, steps: Steps<'_>) -> Result<()> {
    bpffs::create_directory(dir)?;
    steps("directory created");
    for def in &request.plane.maps {
        loaded.map(def.role).pin(&dir.join(def.role.name()))?;
    }
    steps("maps pinned");
    let programs =
        [(SOCK_OPS, Some(&loaded.sock_ops)), (SK_MSG, Some(&loaded.sk_msg)), (DISPATCHER, Some(&loaded.dispatcher))];
    let optional = [(DRAIN, &loaded.drain), (OPT_OUT, &loaded.opt_out), (TRUSTED, &loaded.trusted)];
    let optional = optional.map(|(name, program)| (name, program.as_ref()));
    let tally = (TALLY, loaded.tally.as_ref().map(|tally| &tally.program));
    let watching = loaded.watching.iter().map(|watching| (watching.name, Some(&watching.program)));
    for (name, program) in programs.into_iter().chain(optional).chain([tally]).chain(watching) {
        if let Some(program) = program {
            program.pin(&dir.join(name))?;
        }
    }
    request.record()?.write()?.pin(&dir.join(RECORD))?;
    steps("programs pinned");
    if let Verdict::Link(link) = attach_verdict(loaded)? {
        link.pin(&dir.join(SK_MSG_LINK))?;
    }
    steps("dispatcher attached");
    for watching in &loaded.watching {
        watching.attach()?.pin(&dir.join(watching_link(watching.name)))?;
        steps("readers watched");
    }
    for (name, program, cgroup) in request.marked.programs(loaded) {
        attach_cgroup(program, cgroup)?.pin(&dir.join(format!("{name}_{}", cgroup.id()?)))?;
        steps("opted out");
    }
    Ok(())
}

impl Generation {
    pub(super) fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The pinned map of this name; `None` when the pin was removed.
    pub(super) fn map(&self, name: &str) -> Result<Option<Map>> {
        present(Map::from_pin(&self.path(name)))
    }

    pub(super) fn program(&self, name: &str) -> Result<Option<Program>> {
        present(Program::from_pin(&self.path(name)))
    }

    /// Its counters, with what open connections have added to them; `None` when their pin was removed.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>> {
        if let (Some(storage), Some(program)) = (self.map(MapRole::Storage.name())?, self.program(TALLY)?) {
            Tally { program, over: tally_over(&kernel_offsets()?)? }.count(&storage)?;
        }
        self.counters()
    }

    /// The same without the bytes of connections that live.
    pub(super) fn counters(&self) -> Result<Option<Snapshot>> {
        self.map(MapRole::Counters.name())?.map(|counters| Snapshot::of(&counters)).transpose()
    }

    pub(super) fn record(&self) -> Result<Record> {
        self.map(RECORD)?.map_or_else(|| Ok(Record::default()), |map| Record::read(&map))
    }

    /// The names of its links: on the sockhash, and on the cgroups that have opted out.
    pub(super) fn links(&self) -> Result<Vec<String>> {
        let mut names = bpffs::names(&self.dir)?;
        names.retain(|name| {
            let marks = |program| name.strip_prefix(program).is_some_and(|rest: &str| rest.starts_with('_'));
            name == SK_MSG_LINK || [OPT_OUT, TRUSTED, RECEIVES, SPLICES].into_iter().any(marks)
        });
        Ok(names)
    }

    /// Whether the program with this id is its sock_ops program, or the one that was about to become it.
    pub(super) fn has_sock_ops(&self, id: u32) -> Result<bool> {
        for name in [SOCK_OPS.to_owned(), pending(SOCK_OPS)] {
            if let Some(program) = self.program(&name)?
                && program.info()?.id == id
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an upgrade in place was cut short.
    pub(super) fn has_pending(&self) -> bool {
        REPLACED.iter().any(|name| self.path(&pending(name)).exists())
    }

    /// Ends an upgrade in place that was cut short: forward if the link has the new program already, else back.
    pub(super) fn finish_upgrade(&self, linked: u32, steps: Steps<'_>) -> Result<()> {
        if !self.has_pending() {
            return Ok(());
        }
        let forward = match self.program(&pending(SOCK_OPS))? {
            Some(program) => program.info()?.id == linked,
            None => false,
        };
        if !forward && let (Some(verdict), Some(sk_msg)) = (self.map(MapRole::Programs.name())?, self.program(SK_MSG)?)
        {
            set_verdict(&verdict, &sk_msg)?;
            steps("old sk_msg program restored");
        }
        for name in REPLACED {
            let new = self.path(&pending(name));
            // Those that were not replaced yet, or any more, are not there.
            if forward && new.exists() {
                bpffs::rename(&new, &self.path(name))?;
            } else {
                bpffs::unpin(&new)?;
            }
            steps("pin renamed");
        }
        Ok(())
    }

    /// Turns its soft switch, if its configuration is still there.
    pub(super) fn switch(&self, on: bool, spare_armed: bool) -> Result<()> {
        match self.map(MapRole::Config.name())? {
            Some(config) => switch(&config, on, spare_armed),
            None => Ok(()),
        }
    }

    /// Its configuration; none when its pin is gone, or it is of another layout.
    pub(super) fn config(&self) -> Result<Option<Config>> {
        let Some(map) = self.map(MapRole::Config.name())? else { return Ok(None) };
        let bytes = map.lookup(&[0; 4]).context("read the configuration")?;
        Ok(bytes.and_then(|bytes| Config::from_bytes(&bytes)))
    }

    /// Sends its connections back to plain TCP. Returns how many sockets hold unread bytes after `timeout`, or have
    /// settings of ours that their callbacks, if there are any, have not taken back.
    pub(super) fn empty(&self, timeout: Duration, callbacks: bool, steps: Steps<'_>) -> Result<usize> {
        self.switch(false, callbacks)?;
        steps("soft switch off");
        let watches = self.map(MapRole::Readers.name())?.is_some();
        let wakes = self.config()?.is_some_and(|config| Waker::is_needed(config, watches));
        let left = match self.map(MapRole::Sockets.name())? {
            Some(sockets) => drain(&sockets, self.program(DRAIN)?.as_ref(), timeout, wakes)?,
            None => 0,
        };
        steps("drained");
        Ok(left)
    }

    /// Sends the connections back to the stack that have an end which `chosen` is true of; see [`super::Instance::leave`].
    pub(super) fn leave(&self, chosen: &dyn Fn(&Member) -> bool, timeout: Duration) -> Result<usize> {
        let map = |role: MapRole| self.map(role.name());
        let (Some(sockets), Some(storage), Some(config)) =
            (map(MapRole::Sockets)?, map(MapRole::Storage)?, map(MapRole::Config)?)
        else {
            // A missing pin is a problem of its own.
            return Ok(0);
        };
        let drain = self.program(DRAIN)?;
        let attached = Attached {
            sockets: &sockets,
            storage: &storage,
            config: &config,
            drain: drain.as_ref(),
            watches: map(MapRole::Readers)?.is_some(),
        };
        leave(&attached, chosen, timeout)
    }

    /// Empties it and removes it. Returns how many sockets hold unread bytes after `timeout`: then it stays for another
    /// attempt, unless it has no drain or `abandon` is set.
    pub(super) fn retire(&self, timeout: Duration, abandon: bool, steps: Steps<'_>) -> Result<usize> {
        let left = self.empty(timeout, false, steps)?;
        if left > 0 && self.program(DRAIN)?.is_some() && !abandon {
            return Ok(left);
        }
        let retired = self.dir.with_file_name("retired");
        bpffs::rename(&self.dir, &retired)?;
        steps("generation out of place");
        bpffs::remove_directory(&retired)?;
        steps("generation removed");
        Ok(left)
    }

    /// What is wrong with the dispatcher's place on the sockhash, as far as the kernel shows it.
    pub(super) fn on_sockhash(&self) -> Result<Option<Problem>> {
        let (Some(sockets), Some(dispatcher)) = (self.map(MapRole::Sockets.name())?, self.program(DISPATCHER)?) else {
            // Missing pins are a problem of their own.
            return Ok(None);
        };
        let link = present(Link::from_pin(&self.path(SK_MSG_LINK)))?;
        attachment::on_sockhash(&sockets, dispatcher.info()?.id, link.as_ref())
    }
}

/// Turns the soft switch of a configuration map. Off, every message takes the stack. It is the first word of the value in
/// every layout.
pub(super) fn switch(config: &Map, on: bool, spare_armed: bool) -> Result<()> {
    let old = config.lookup(&[0; 4]).context("read the configuration")?.unwrap_or_default();
    let mut new = old.clone();
    if let Some(known) = Config::from_bytes(&old) {
        new = Config { enabled: on, spare_armed, ..known }.to_bytes().into();
    } else if let Some(switch) = new.get_mut(..4) {
        switch.copy_from_slice(&u32::from(on).to_ne_bytes());
    }
    if new != old {
        config.update(&[0; 4], &new, UpdateFlags::empty()).context("write the configuration")?;
    }
    Ok(())
}

/// The name of a pin before it takes the place of `name`.
pub(super) fn pending(name: &str) -> String {
    format!("new_{name}")
}

/// `None` for a pin that is not there.
pub(super) fn present<T>(opened: crate::syscall::Result<T>) -> Result<Option<T>> {
    match opened {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}
