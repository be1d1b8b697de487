//! What is attached, and whether exactly that is in the kernel. Changes nothing.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;

use super::cgroups::{AttachedCgroup, Place};
use super::generation::{DISPATCHER, DRAIN, Generation, OPT_OUT, RECORD, SK_MSG, SOCK_OPS, TALLY, TRUSTED, present};
use super::inventory::Inventory;
use super::{Instance, Orphan, Pins, Record};
use crate::agent::Snapshot;
use crate::agent::adoption::default_support;
use crate::agent::drain::members;
use crate::agent::error::Result;
use crate::agent::load::{RECEIVES, SPLICES};
use crate::agent::problem::{Neighbour, Problem};
use crate::agent::readers::Readers;
use crate::dataplane::{Counter, MapRole};
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Link, Map, prog_query};
use crate::uapi::AttachType;

/// Longer than a program of another command is there that only looks, or adopts, and than the kernel takes to free what was replaced.
const MOMENT: Duration = Duration::from_millis(100);

/// A program, map or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Object {
    /// Its pin.
    pub name: String,
    /// The kernel's number.
    pub id: u32,
}

/// Whether an instance works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct GenerationStatus {
    /// Its directory.
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
    /// The dispatcher's link on the sockhash.
    pub links: Vec<Object>,
    /// The counters that are not zero; none when another version counts otherwise.
    pub counters: Vec<(&'static str, u64)>,
    /// What is known of the processes that read; none where they are not watched.
    pub readers: Option<Readers>,
}

/// One cgroup.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Where the cgroup was when it was attached.
    pub cgroup: PathBuf,
    /// The kernel's number of the cgroup.
    pub cgroup_id: u64,
    /// The directory of its pins.
    pub pins: PathBuf,
    /// Whether it works.
    pub state: State,
    /// A `sidestep run` owns it.
    pub owned: bool,
    /// The version that attached it.
    pub version: String,
    /// Fingerprint of what its programs agree on, in hexadecimal.
    pub layout: String,
    /// The flags it was attached with.
    pub flags: Vec<String>,
    /// The link on the first of its cgroups.
    pub link: Option<u32>,
    /// All its cgroups.
    pub cgroups: Vec<AttachedCgroup>,
    /// The live one, and any that are on their way out.
    pub generations: Vec<GenerationStatus>,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The version that looked.
    pub version: &'static str,
    /// What is pinned.
    pub instances: Vec<InstanceStatus>,
    /// Whether the kernel's programs and links were listed, which takes CAP_SYS_ADMIN.
    pub inventoried: bool,
    /// Sockhashes with members and without an owner.
    pub orphans: Vec<Orphan>,
    /// Sockhashes that are not pinned here but have a sock_ops program: of a process, or of pins elsewhere.
    pub others: Vec<u32>,
    /// Programs of other tools on the hooks that sidestep uses. They are not a problem by themselves.
    pub neighbours: Vec<Neighbour>,
    /// Why connections made before an attach stay plain TCP here; none where they are accelerated, too.
    pub existing_stay_plain: Option<String>,
    /// What is wrong beside the instances.
    pub problems: Vec<Problem>,
}

impl Status {
    /// Looks. `pins` is none where nothing can be pinned. What can be no more than the work of a moment is a problem only when it is
    /// still there a moment later.
    pub fn read(pins: Option<&Pins>) -> Result<Self> {
        let before = Self::read_once(pins)?;
        if !before.instances.iter().flat_map(|instance| &instance.problems).any(Problem::may_be_of_a_moment) {
            return Ok(before);
        }
        sleep(MOMENT);
        let mut now = Self::read_once(pins)?;
        for instance in &mut now.instances {
            let was = before.instances.iter().find(|before| before.pins == instance.pins);
            let was = was.map_or(&[][..], |before| &before.problems);
            instance.problems.retain(|problem| !problem.may_be_of_a_moment() || was.contains(problem));
        }
        Ok(now)
    }

    fn read_once(pins: Option<&Pins>) -> Result<Self> {
        let inventory = Inventory::take()?;
        let mut instances = Vec::new();
        for instance in pins.map_or(Ok(Vec::new()), Pins::instances)? {
            // A command that is about to attach has created no more than the directory.
            if !instance.places()?.is_empty() || !instance.generations()?.is_empty() {
                instances.push(instance.status(inventory.as_ref())?);
            }
        }
        let known = |id| instances.iter().any(|instance| instance.maps().any(|map| map.id == id));
        let mut orphans = inventory.as_ref().map_or_else(Vec::new, Inventory::orphans);
        orphans.retain(|orphan| !known(orphan.sockhash));
        let others = inventory.iter().flat_map(Inventory::sockhashes);
        let others = others.filter(|id| !known(*id) && !orphans.iter().any(|orphan| orphan.sockhash == *id)).collect();
        let older = pins.map_or(Ok(Vec::new()), Pins::older)?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            instances,
            inventoried: inventory.is_some(),
            orphans,
            others,
            neighbours: inventory.map_or_else(Vec::new, |inventory| inventory.neighbours),
            existing_stay_plain: default_support(),
            problems: older.into_iter().map(Problem::OlderPins).collect(),
        })
    }

    /// Nothing is wrong, and nothing has lost its owner.
    pub fn is_healthy(&self) -> bool {
        self.orphans.is_empty()
            && self.problems.is_empty()
            && self.instances.iter().all(|instance| instance.problems.is_empty())
    }
}

impl InstanceStatus {
    /// The maps.
    fn maps(&self) -> impl Iterator<Item = &Object> {
        self.generations.iter().flat_map(|generation| &generation.maps)
    }
}

impl Instance {
    /// What is wrong, as far as the pins show it; nothing while a change is under way.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        let found = self.problems_now();
        // A change may have begun, and ended, meanwhile.
        if found.as_ref().is_ok_and(|found| !found.iter().any(Problem::may_be_of_a_moment)) {
            return found;
        }
        sleep(MOMENT);
        self.problems_now()
    }

    fn problems_now(&self) -> Result<Vec<Problem>> {
        if self.is_changing()? || self.places()?.is_empty() {
            return Ok(Vec::new());
        }
        let problems = self.status(None)?.problems;
        Ok(if problems.contains(&Problem::Changing) { Vec::new() } else { problems })
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
        if self.is_changing()? {
            problems.push(Problem::Changing);
        } else if self.staging_path().exists() || self.retired_path().exists() || pending {
            problems.push(Problem::Interrupted);
        }
        let (state, on_cgroup) = self.on_cgroup(live_found)?;
        problems.extend(on_cgroup);
        let places = self.places()?;
        for (number, place) in places.iter().filter(|place| !place.is_dead()).enumerate() {
            problems.extend(count_on(&record, place));
            // Of the first one it is known already.
            if number > 0 && self.generation_of(place.info.prog_id)?.is_none() {
                problems.push(Problem::SockOpsReplaced(place.info.prog_id));
            }
        }
        if let Some(inventory) = inventory {
            strays(&generations, &places, inventory, &mut problems);
        }
        Ok(InstanceStatus {
            cgroup: record.cgroup,
            cgroup_id: self.cgroup_id(),
            pins: self.dir().to_owned(),
            state,
            owned: self.has_owner()?,
            version: record.version,
            layout: format!("{:016x}", record.layout),
            flags: record.flags,
            link: attached.map(|(_, info)| info.id),
            cgroups: self.cgroups()?,
            generations,
            problems,
        })
    }

    /// The state of the link, and what is wrong with it. `live_found`: it holds the program of one of the generations.
    fn on_cgroup(&self, live_found: bool) -> Result<(State, Option<Problem>)> {
        let places = self.places()?;
        if places.is_empty() {
            return Ok((State::Detached, Some(Problem::Leftovers)));
        }
        // One of several cgroups that was removed is not a problem: the instance goes on without it.
        let mut problems: Vec<_> = places.iter().map(|place| place.problem(|_| live_found)).collect();
        if let Some(at) = problems.iter().position(|problem| *problem != Some(Problem::CgroupRemoved)) {
            problems.swap(0, at);
        }
        let problem = problems.into_iter().next().flatten();
        let state = match problem {
            Some(Problem::CgroupRemoved) => State::CgroupGone,
            Some(Problem::SockOpsDetached) => State::Detached,
            _ => State::Attached,
        };
        Ok((state, problem))
    }
}

/// Whether the cgroup has our program once. `None` also where this process cannot ask: the recorded path may not exist in
/// its container, or be another cgroup there.
fn count_on(record: &Record, place: &Place) -> Option<Problem> {
    let by_path = || Cgroup::open(&record.cgroup).ok().filter(|cgroup| cgroup.id().ok() == Some(place.cgroup_id));
    let cgroup = Cgroup::from_id(place.cgroup_id).ok().flatten().or_else(by_path)?;
    let programs = prog_query(cgroup.as_fd(), AttachType::CGROUP_SOCK_OPS).ok()?;
    let program = place.info.prog_id;
    let times = programs.iter().filter(|id| **id == program).count();
    (times != 1).then(|| Problem::SockOpsCount { program, times, cgroup: cgroup.path().to_owned() })
}

/// What holds or uses our objects and is not ours.
fn strays(generations: &[GenerationStatus], places: &[Place], inventory: &Inventory, problems: &mut Vec<Problem>) {
    for generation in generations {
        let is_program = |id| generation.programs.iter().any(|object| object.id == id);
        let is_link = |id| {
            places.iter().any(|place| place.info.id == id) || generation.links.iter().any(|object| object.id == id)
        };
        for map in &generation.maps {
            let users = inventory.users(map.id).filter(|user| !is_program(user.id));
            // What was just replaced is freed after a grace period, and an adoption has a program of its own for a moment.
            problems.extend(users.map(|user| Problem::ForeignUser {
                program: user.id,
                name: user.name.clone(),
                map: map.id,
            }));
        }
        let links = inventory.links.iter().filter(|link| is_program(link.prog_id) && !is_link(link.id));
        problems.extend(links.map(|link| Problem::ForeignLink { link: link.id, program: link.prog_id }));
        let gone = |id: u32| !inventory.programs.iter().any(|program| program.id == id);
        let lost = generation.programs.iter().filter(|object| gone(object.id));
        problems.extend(lost.map(|object| Problem::NotListed { program: object.id, name: object.name.clone() }));
    }
}

impl Generation {
    fn status(&self, live: bool, problems: &mut Vec<Problem>) -> Result<GenerationStatus> {
        let mut status = GenerationStatus {
            name: self.name(),
            live,
            enabled: false,
            members: 0,
            programs: Vec::new(),
            maps: Vec::new(),
            links: Vec::new(),
            counters: Vec::new(),
            readers: None,
        };
        let mut missing = |name: &str| problems.push(Problem::PinMissing(self.path(name)));
        let (mut found, mut capacity) = (None, u32::MAX);
        for name in MapRole::ALL.into_iter().chain(MapRole::WATCHING).map(MapRole::name).chain([RECORD]) {
            let Some(map) = self.map(name)? else {
                // Not every data plane watches readers.
                if !MapRole::WATCHING.iter().any(|role| role.name() == name) {
                    missing(name);
                }
                continue;
            };
            status.maps.push(Object { name: name.into(), id: map.info()?.id });
            match name {
                _ if name == MapRole::Sockets.name() => {
                    status.members = members(&map)?;
                    capacity = map.max_entries();
                }
                _ if name == MapRole::Config.name() => {
                    status.enabled =
                        map.lookup(&[0; 4])?.is_some_and(|value| value.iter().take(4).any(|byte| *byte != 0));
                }
                _ if name == MapRole::Readers.name() => status.readers = Some(Readers::read(&map)?),
                _ if name == MapRole::Counters.name() => {
                    // Without leave to run the tally, what open connections have added is missing.
                    let snapshot = if map.value_size() == Counter::VALUE_SIZE { self.snapshot() } else { Ok(None) };
                    status.counters = match snapshot {
                        Ok(snapshot) => snapshot.as_ref().map_or_else(Vec::new, counters),
                        Err(_) => counters(&Snapshot::of(&map)?),
                    };
                }
                _ if name == MapRole::Programs.name() => found = program_in(&map)?,
                _ => {}
            }
        }
        for name in [SOCK_OPS, SK_MSG, DISPATCHER, DRAIN, TALLY, OPT_OUT, TRUSTED, RECEIVES, SPLICES] {
            match self.program(name)? {
                Some(program) => status.programs.push(Object { name: name.into(), id: program.info()?.id }),
                // The sticky tier cannot drain, and not every policy marks cgroups or watches readers.
                None if [DRAIN, TALLY, OPT_OUT, TRUSTED, RECEIVES, SPLICES].contains(&name) => {}
                None => missing(name),
            }
        }
        for name in self.links()? {
            if let Some(link) = present(Link::from_pin(&self.path(&name)))? {
                status.links.push(Object { id: link.info()?.id, name });
            }
        }
        let expected = status.programs.iter().find(|object| object.name == SK_MSG).map(|object| object.id);
        if found != expected {
            problems.push(Problem::WrongProgram { generation: status.name.clone(), found, expected });
        }
        problems.extend(self.on_sockhash()?);
        if live && !status.enabled {
            problems.push(Problem::SwitchedOff);
        }
        if live {
            problems.extend(Problem::of_members(status.members, capacity));
        }
        Ok(status)
    }
}

/// The program in an array of programs: user space reads its number.
fn program_in(map: &Map) -> Result<Option<u32>> {
    let value = map.lookup(&[0; 4])?;
    Ok(value.and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?))))
}

/// Those that are not zero.
fn counters(snapshot: &Snapshot) -> Vec<(&'static str, u64)> {
    snapshot.iter().filter(|(_, value)| *value > 0).map(|(counter, value)| (counter.name(), value)).collect()
}
