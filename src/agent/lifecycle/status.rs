//! What is attached, and whether exactly that is in the kernel. Changes nothing.

use std::os::fd::AsFd;
use std::path::PathBuf;

use serde::Serialize;

use super::generation::{DISPATCHER, DRAIN, Generation, OPT_OUT, RECORD, SK_MSG, SOCK_OPS, present};
use super::inventory::Inventory;
use super::{Instance, Orphan, Pins, Record};
use crate::agent::Snapshot;
use crate::agent::drain::members;
use crate::agent::error::Result;
use crate::dataplane::{Counter, MapRole};
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Errno, Link, LinkInfo, Map, prog_query};
use crate::uapi::AttachType;

/// A program, map or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its pin.
    pub name: String,
    /// The kernel's number.
    pub id: u32,
}

/// Whether an instance works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// New connections are enrolled.
    Attached,
    /// The cgroup was removed, and the kernel has detached it.
    CgroupGone,
    /// Detached, but for what is still pinned.
    Detached,
}

/// One set of maps and programs.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationStatus {
    /// Its folder.
    pub name: String,
    /// New connections go there.
    pub live: bool,
    /// The soft switch.
    pub enabled: bool,
    /// Sockets in the sockhash.
    pub members: usize,
    /// Its programs.
    pub programs: Vec<Object>,
    /// Its maps.
    pub maps: Vec<Object>,
    /// The entry's link on the sockhash.
    pub links: Vec<Object>,
    /// The counters that are not zero; none when another version counts otherwise.
    pub counters: Vec<(&'static str, u64)>,
}

/// One cgroup.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceStatus {
    /// Where the cgroup was when it was attached.
    pub cgroup: PathBuf,
    /// The kernel's number of the cgroup.
    pub cgroup_id: u64,
    /// The folder of its pins.
    pub pins: PathBuf,
    /// Whether it works.
    pub state: State,
    /// A `sidestep run` looks after it.
    pub attended: bool,
    /// The version that attached it.
    pub version: String,
    /// Fingerprint of what its programs agree on, in hexadecimal.
    pub layout: String,
    /// The flags it was attached with.
    pub flags: Vec<String>,
    /// The link on the cgroup.
    pub link: Option<u32>,
    /// The live one, and any that are on their way out.
    pub generations: Vec<GenerationStatus>,
    /// What is not as it should be, each a sentence.
    pub problems: Vec<String>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The version that looked.
    pub version: &'static str,
    /// What is pinned.
    pub instances: Vec<InstanceStatus>,
    /// Whether the kernel's programs, maps and links were inventoried, which takes CAP_SYS_ADMIN.
    pub inventoried: bool,
    /// Sockhashes with members and without an owner.
    pub orphans: Vec<Orphan>,
    /// Sockhashes that are not pinned here but have a sock_ops program: of a process, or of pins elsewhere.
    pub others: Vec<u32>,
}

impl Status {
    /// Looks. `pins` is none where nothing can be pinned.
    pub fn read(pins: Option<&Pins>) -> Result<Self> {
        let inventory = Inventory::take()?;
        let mut instances = Vec::new();
        for instance in pins.map_or(Ok(Vec::new()), Pins::instances)? {
            // Nothing but the folder of one who is about to attach.
            if instance.link().exists() || !instance.generations()?.is_empty() {
                instances.push(instance.status(inventory.as_ref())?);
            }
        }
        let known = |id| instances.iter().any(|instance| instance.objects().any(|object| object.id == id));
        let mut orphans = inventory.as_ref().map_or_else(Vec::new, Inventory::orphans);
        orphans.retain(|orphan| !known(orphan.sockhash));
        let others = inventory.iter().flat_map(Inventory::sockhashes);
        let others = others.filter(|id| !known(*id) && !orphans.iter().any(|orphan| orphan.sockhash == *id)).collect();
        let inventoried = inventory.is_some();
        Ok(Self { version: env!("CARGO_PKG_VERSION"), instances, inventoried, orphans, others })
    }

    /// Nothing is other than it should be, and nothing has lost its owner.
    pub fn is_healthy(&self) -> bool {
        self.orphans.is_empty() && self.instances.iter().all(|instance| instance.problems.is_empty())
    }
}

impl InstanceStatus {
    /// The maps.
    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.generations.iter().flat_map(|generation| &generation.maps)
    }
}

impl Instance {
    /// What is not as it should be, as far as the pins tell; none while a change is under way.
    pub fn problems(&self) -> Result<Vec<String>> {
        if self.is_changing()? || !self.link().exists() {
            return Ok(Vec::new());
        }
        Ok(self.status(None)?.problems)
    }

    fn status(&self, inventory: Option<&Inventory>) -> Result<InstanceStatus> {
        let mut problems = Vec::new();
        let attached = self.attached_link()?;
        let mut record = Record::default();
        let (mut generations, mut live_found) = (Vec::new(), false);
        for generation in self.generations()? {
            let live = match &attached {
                Some((_, info)) => generation.has_sock_ops(info.prog_id)?,
                None => false,
            };
            live_found |= live;
            if live || record == Record::default() {
                record = generation.record()?;
            }
            generations.push(generation.status(live, &mut problems)?);
        }
        let pending = self.generations()?.iter().any(Generation::has_pending);
        let state = match &attached {
            Some(_) => State::Attached,
            None if self.link().exists() => State::CgroupGone,
            None => State::Detached,
        };
        if self.is_changing()? {
            problems.push("a change is under way, so that this is a view of a moment".into());
        } else if self.staging_path().exists() || self.retired_path().exists() || pending {
            problems.push("a change was cut short; the next attach, upgrade, run or detach ends it".into());
        }
        match (&attached, state) {
            (Some((_, info)), _) if !live_found => problems.push(format!(
                "the link on the cgroup holds program {}, which is none of ours; `sidestep detach` clears it away",
                info.prog_id
            )),
            (Some((_, info)), _) => problems.extend(on_cgroup(&record, self.cgroup_id(), info)),
            (None, State::CgroupGone) => {
                problems.push(cgroup_removed());
            }
            (None, _) => problems.push("nothing is attached, but not everything is gone; detach again".into()),
        }
        let link = attached.map(|(_, info)| info.id);
        if let Some(inventory) = inventory {
            strays(&generations, link, inventory, &mut problems);
        }
        Ok(InstanceStatus {
            cgroup: record.cgroup,
            cgroup_id: self.cgroup_id(),
            pins: self.dir().to_owned(),
            state,
            attended: self.has_owner()?,
            version: record.version,
            layout: format!("{:016x}", record.layout),
            flags: record.flags,
            link,
            generations,
            problems,
        })
    }
}

fn cgroup_removed() -> String {
    "the cgroup was removed, so no new connection can be accelerated; `sidestep detach --all` removes what is left"
        .into()
}

/// Whether the cgroup is there and has our program once; no complaint where that cannot be asked.
fn on_cgroup(record: &Record, cgroup_id: u64, link: &LinkInfo) -> Option<String> {
    let opened = match Cgroup::open(&record.cgroup) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Some(cgroup_removed()),
        opened => opened.ok(),
    };
    // Another container may see another cgroup by that path.
    let cgroup = opened.filter(|cgroup| cgroup.id().ok() == Some(cgroup_id))?;
    let programs = prog_query(cgroup.as_fd(), AttachType::CGROUP_SOCK_OPS).ok()?;
    let times = programs.iter().filter(|id| **id == link.prog_id).count();
    (times != 1).then(|| format!("program {} is attached {times} times to {}", link.prog_id, record.cgroup.display()))
}

/// What holds or uses our objects and is not ours.
fn strays(generations: &[GenerationStatus], link: Option<u32>, inventory: &Inventory, problems: &mut Vec<String>) {
    for generation in generations {
        let is_program = |id| generation.programs.iter().any(|object| object.id == id);
        let is_link = |id| link == Some(id) || generation.links.iter().any(|object| object.id == id);
        for map in &generation.maps {
            let users = inventory.users(map.id).filter(|user| !is_program(user.id));
            // What was just replaced is freed after a grace period.
            problems.extend(users.map(|user| {
                format!("program {} ({}) uses map {} and is not pinned with it", user.id, user.name, map.id)
            }));
        }
        let links = inventory.links.iter().filter(|link| is_program(link.prog_id) && !is_link(link.id));
        problems
            .extend(links.map(|link| format!("link {} holds our program {} and is not ours", link.id, link.prog_id)));
        let gone = |id: u32| !inventory.programs.iter().any(|program| program.id == id);
        let lost = generation.programs.iter().filter(|object| gone(object.id));
        problems
            .extend(lost.map(|object| format!("program {} ({}) was not met by the inventory", object.id, object.name)));
    }
}

impl Generation {
    fn status(&self, live: bool, problems: &mut Vec<String>) -> Result<GenerationStatus> {
        let mut status = GenerationStatus {
            name: self.name(),
            live,
            enabled: false,
            members: 0,
            programs: Vec::new(),
            maps: Vec::new(),
            links: Vec::new(),
            counters: Vec::new(),
        };
        let mut missing = |name: &str| problems.push(format!("the pin {} is missing", self.path(name).display()));
        let mut verdict = None;
        for name in MapRole::ALL.map(MapRole::name).into_iter().chain([RECORD]) {
            let Some(map) = self.map(name)? else {
                missing(name);
                continue;
            };
            status.maps.push(Object { name: name.into(), id: map.info()?.id });
            match name {
                _ if name == MapRole::Sockets.name() => status.members = members(&map)?,
                _ if name == MapRole::Config.name() => {
                    status.enabled =
                        map.lookup(&[0; 4])?.is_some_and(|value| value.iter().take(4).any(|byte| *byte != 0));
                }
                _ if name == MapRole::Counters.name() => status.counters = counters(&map)?,
                _ if name == MapRole::Programs.name() => verdict = program_in(&map)?,
                _ => {}
            }
        }
        for name in [SOCK_OPS, SK_MSG, DISPATCHER, DRAIN, OPT_OUT] {
            match self.program(name)? {
                Some(program) => status.programs.push(Object { name: name.into(), id: program.info()?.id }),
                // The sticky tier cannot drain, and not every policy lets cgroups opt out.
                None if name == DRAIN || name == OPT_OUT => {}
                None => missing(name),
            }
        }
        for name in self.links()? {
            if let Some(link) = present(Link::from_pin(&self.path(&name)))? {
                status.links.push(Object { id: link.info()?.id, name });
            }
        }
        let sk_msg = status.programs.iter().find(|object| object.name == SK_MSG).map(|object| object.id);
        if verdict != sk_msg {
            problems.push(format!("the entry of {} calls {verdict:?}, not {sk_msg:?}", status.name));
        }
        if self.entry_attached()? == Some(false) {
            problems.push(format!("the entry of {} is not on its sockhash", status.name));
        }
        if live && !status.enabled {
            problems.push("the soft switch is off: every message takes the stack".into());
        }
        Ok(status)
    }
}

/// The program in an array of programs: user space reads its number.
fn program_in(map: &Map) -> Result<Option<u32>> {
    let value = map.lookup(&[0; 4])?;
    Ok(value.and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?))))
}

fn counters(map: &Map) -> Result<Vec<(&'static str, u64)>> {
    if map.value_size() != Counter::VALUE_SIZE {
        return Ok(Vec::new());
    }
    let snapshot = Snapshot::of(map)?;
    Ok(snapshot.iter().filter(|(_, value)| *value > 0).map(|(counter, value)| (counter.name(), value)).collect())
}
