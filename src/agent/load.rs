//! The data plane as kernel objects: maps created, programs loaded, nothing attached to the outside.

use std::os::fd::{AsFd, AsRawFd};

use super::error::{Context, Error, Result};
use super::kernel::{Hook, TallyOver, iter_sockmap_id, receives_hook, splices_hook, tally_over};
use super::readers::{DrainOf, ReaderWatcher, SplicerMemory, WatchedMaps};
use super::tally::Tally;
use crate::asm::{self, MapRef};
use crate::dataplane::{self, Config, DataPlane, MapDef, MapKind, MapRole, Tier};
use crate::syscall::btf::StorageBtf;
use crate::syscall::{Link, LinkTarget, Map, MapFlags, MapSpec, ProgSpec, Program, UpdateFlags, memlock};
use crate::uapi::{AttachType, ProgType};

/// Names of the programs that watch readers.
pub(super) const RECEIVES: &str = "receives";
/// The other one.
pub(super) const SPLICES: &str = "splices";

/// The loaded maps and programs. Dropping it frees them, unless something is attached or pinned.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    pub(super) maps: Vec<Map>,
    /// The sock_ops program.
    pub sock_ops: Program,
    /// The sk_msg program.
    pub sk_msg: Program,
    /// What is attached to the sockhash: tail-calls the sk_msg program.
    pub dispatcher: Program,
    /// The drain iterator; none in the sticky tier.
    pub drain: Option<Program>,
    /// The iterator that counts the bytes of open connections; none in the sticky tier.
    pub(super) tally: Option<Tally>,
    /// The program for cgroups that opt out; only when the policy asks for it.
    pub opt_out: Option<Program>,
    /// The program for cgroups whose readers are trusted by name.
    pub trusted: Option<Program>,
    /// What sees data received, and splice(2); only where readers are watched.
    pub watching: Vec<Watching>,
}

/// A program that watches readers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Watching {
    /// Its name, under which it is pinned.
    pub name: &'static str,
    /// The program.
    pub program: Program,
    attach_type: AttachType,
}

impl Watching {
    /// Attaches it.
    pub(super) fn attach(&self) -> Result<Link> {
        Link::create(self.program.as_fd(), LinkTarget::None, self.attach_type)
            .context("attach the programs that watch readers")
    }
}

impl Loaded {
    /// Creates the maps, writes `config`, loads the programs.
    pub fn new(plane: &DataPlane, config: Config) -> Result<Self> {
        memlock::raise_if_needed()?;
        let maps = plane.maps.iter().map(create).collect::<Result<Vec<_>>>()?;
        let loaded = Self::into_maps(plane, maps)?;
        loaded.configure(config)?;
        loaded.decide()?;
        Ok(loaded)
    }

    /// Loads the programs for maps of the same layout that are there already.
    pub(super) fn into_maps(plane: &DataPlane, maps: Vec<Map>) -> Result<Self> {
        // Programs count as well, and a command that replaces them has created no map.
        memlock::raise_if_needed()?;
        let map = |map: MapRef| maps.get(map.0 as usize);
        let loaded = std::thread::scope(|scope| {
            // The kernel's verifier takes longest for what sees splice(2): it follows each round in which that program waits.
            let beside = std::thread::Builder::new().spawn_scoped(scope, || load_watching(plane, map));
            let sock_ops = load("sidestep_ops", ProgType::SOCK_OPS, &plane.sock_ops, map)?;
            let sk_msg = load("sidestep_msg", ProgType::SK_MSG, &plane.sk_msg, map)?;
            let dispatcher = load("sidestep_disp", ProgType::SK_MSG, &plane.dispatcher, map)?;
            let drain = plane.drain.as_ref().map(|program| load_drain(program, map)).transpose()?;
            let tally = match (&plane.tally, &plane.options.tier) {
                (Some(program), Tier::Gated(offsets)) => Some(load_tally(program, tally_over(offsets)?, map)?),
                _ => None,
            };
            let mark = |name, program: &Option<asm::Program>| {
                program.as_ref().map(|program| load(name, ProgType::SOCK_OPS, program, map)).transpose()
            };
            let (opt_out, trusted) = (mark("sidestep_out", &plane.opt_out)?, mark("sidestep_trust", &plane.trusted)?);
            let watching = match beside {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No thread is to be had.
                Err(_) => load_watching(plane, map),
            }?;
            let maps = Vec::new();
            Ok::<_, Error>(Self { sock_ops, sk_msg, dispatcher, drain, tally, opt_out, trusted, watching, maps })
        })?;
        Ok(Self { maps, ..loaded })
    }

    /// Lets the dispatcher call this sk_msg program, from the next message on.
    pub(super) fn decide(&self) -> Result<()> {
        set_verdict(self.map(MapRole::Programs), &self.sk_msg)
    }

    /// Looks after readers, where they are watched, until the answer is dropped. `trusted` need not earn trust.
    pub fn watch_readers(&self, trusted: Vec<std::path::PathBuf>) -> Result<Option<ReaderWatcher>> {
        let Some(drain) = self.drain.as_ref().filter(|_| !self.watching.is_empty()) else { return Ok(None) };
        let roles = [MapRole::Readers, MapRole::Sockets, MapRole::Events, MapRole::Storage, MapRole::Config];
        let maps = WatchedMaps::of(roles.map(|role| self.map(role)), DrainOf::Held(drain.try_clone()?))?;
        ReaderWatcher::start(maps, SplicerMemory::open(), trusted).map(Some)
    }

    /// The map that plays `role`; those of [`MapRole::WATCHING`] are there only where readers are watched.
    pub fn map(&self, role: MapRole) -> &Map {
        &self.maps[role as usize]
    }

    /// Writes the config map: takes effect with the next message and the next connection.
    pub fn configure(&self, config: Config) -> Result<()> {
        self.map(MapRole::Config)
            .update(&0_u32.to_ne_bytes(), &config.to_bytes(), UpdateFlags::empty())
            .context("write the configuration")
    }
}

/// Loads the drain for the maps that it names.
pub(super) fn load_drain<'a>(program: &asm::Program, map: impl Fn(MapRef) -> Option<&'a Map>) -> Result<Program> {
    let hook = Hook { attach_type: AttachType::TRACE_ITER, btf_id: iter_sockmap_id()? };
    load_at("sidestep_drain", ProgType::TRACING, program, map, Some(hook))
}

/// Loads the programs that watch readers, where they are watched.
fn load_watching<'a>(plane: &DataPlane, map: impl Fn(MapRef) -> Option<&'a Map>) -> Result<Vec<Watching>> {
    let Some(watch) = plane.options.policy.trust.watch() else { return Ok(Vec::new()) };
    let mut watching = Vec::new();
    for (name, kernel_name, program, hook) in [
        (RECEIVES, "sidestep_recv", &plane.receives, receives_hook(watch.hooks)?),
        (SPLICES, "sidestep_splice", &plane.splices, splices_hook(watch.hooks)?),
    ] {
        if let Some(program) = program {
            let program = load_at(kernel_name, ProgType::TRACING, program, &map, Some(hook))?;
            watching.push(Watching { name, program, attach_type: hook.attach_type });
        }
    }
    Ok(watching)
}

fn load_tally<'a>(program: &asm::Program, over: TallyOver, map: impl Fn(MapRef) -> Option<&'a Map>) -> Result<Tally> {
    load_at("sidestep_tally", ProgType::TRACING, program, map, Some(over.hook())).map(|program| Tally { program, over })
}

fn load<'a>(
    name: &str,
    prog_type: ProgType,
    program: &asm::Program,
    map: impl Fn(MapRef) -> Option<&'a Map>,
) -> Result<Program> {
    load_at(name, prog_type, program, map, None)
}

/// The same, for a program that is attached to `hook`.
pub(super) fn load_at<'a>(
    name: &str,
    prog_type: ProgType,
    program: &asm::Program,
    map: impl Fn(MapRef) -> Option<&'a Map>,
    hook: Option<Hook>,
) -> Result<Program> {
    let mut spec = ProgSpec { license: dataplane::LICENSE, ..ProgSpec::new(name, prog_type, &[]) };
    if let Some(hook) = hook {
        spec.expected_attach_type = Some(hook.attach_type);
        spec.attach_btf_id = hook.btf_id;
    }
    Ok(Program::assembled(program, map, spec)?)
}

/// Puts a sk_msg program where the dispatcher finds it.
pub(super) fn set_verdict(verdict: &Map, sk_msg: &Program) -> Result<()> {
    verdict
        .update(&0_u32.to_ne_bytes(), &sk_msg.as_fd().as_raw_fd().to_ne_bytes(), UpdateFlags::empty())
        .context("put the sk_msg program in its place")
}

pub(super) fn create(def: &MapDef) -> Result<Map> {
    let spec = MapSpec::new(def.role.name(), def.kind.map_type(), def.key_size, def.value_size, def.max_entries)
        .flags(MapFlags::from_bits_retain(def.flags));
    if def.kind == MapKind::SkStorage {
        let btf = StorageBtf::load(def.value_size)?;
        return Ok(Map::create(&spec.btf(btf.for_map()))?);
    }
    Ok(Map::create(&spec)?)
}
