//! The data plane as kernel objects: maps created, programs loaded, nothing attached to the outside.

use std::os::fd::{AsFd, AsRawFd};

use super::error::{Context, Result};
use super::kernel::iter_sockmap_id;
use crate::asm::{self, MapRef};
use crate::dataplane::{self, Config, DataPlane, MapDef, MapKind, MapRole};
use crate::syscall::btf::StorageBtf;
use crate::syscall::{LoadedDebugInfo, Map, MapFlags, MapSpec, ProgSpec, Program, UpdateFlags, memlock};
use crate::uapi::{AttachType, MapType, ProgType};

/// The loaded maps and programs. Dropping it frees them, unless something is attached or pinned.
#[derive(Debug)]
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
    /// The program for cgroups that opt out; only when the policy asks for it.
    pub opt_out: Option<Program>,
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
        let sock_ops = load("sidestep_ops", ProgType::SOCK_OPS, &plane.sock_ops, map)?;
        let sk_msg = load("sidestep_msg", ProgType::SK_MSG, &plane.sk_msg, map)?;
        let dispatcher = load("sidestep_disp", ProgType::SK_MSG, &plane.dispatcher, map)?;
        let drain = plane.drain.as_ref().map(|program| load_drain(program, map)).transpose()?;
        let opt_out = plane.opt_out.as_ref().map(|program| load("sidestep_out", ProgType::SOCK_OPS, program, map));
        Ok(Self { sock_ops, sk_msg, dispatcher, drain, opt_out: opt_out.transpose()?, maps })
    }

    /// Lets the dispatcher call this sk_msg program, from the next message on.
    pub(super) fn decide(&self) -> Result<()> {
        set_verdict(self.map(MapRole::Programs), &self.sk_msg)
    }

    /// The map that plays `role`.
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
    load("sidestep_drain", ProgType::TRACING, program, map)
}

fn load<'a>(
    name: &str,
    prog_type: ProgType,
    program: &asm::Program,
    map: impl Fn(MapRef) -> Option<&'a Map>,
) -> Result<Program> {
    let insns = program.encode_native(|number| map(number).map(|map| map.as_fd().as_raw_fd()))?;
    // So that a refused program names the Rust line in the kernel's own log.
    let debug = LoadedDebugInfo::of(program, name);
    let mut spec = ProgSpec::new(name, prog_type, &insns);
    spec.license = dataplane::LICENSE;
    spec.debug = debug.as_ref().map(LoadedDebugInfo::for_program);
    if prog_type == ProgType::TRACING {
        spec.expected_attach_type = Some(AttachType::TRACE_ITER);
        spec.attach_btf_id = iter_sockmap_id()?;
    }
    Ok(Program::load(&spec)?)
}

/// Puts a sk_msg program where the dispatcher finds it.
pub(super) fn set_verdict(verdict: &Map, sk_msg: &Program) -> Result<()> {
    verdict
        .update(&0_u32.to_ne_bytes(), &sk_msg.as_fd().as_raw_fd().to_ne_bytes(), UpdateFlags::empty())
        .context("put the sk_msg program in its place")
}

pub(super) fn create(def: &MapDef) -> Result<Map> {
    let map_type = match def.kind {
        MapKind::SockHash => MapType::SOCKHASH,
        MapKind::SkStorage => MapType::SK_STORAGE,
        MapKind::LruHash => MapType::LRU_HASH,
        MapKind::Hash => MapType::HASH,
        MapKind::Array => MapType::ARRAY,
        MapKind::PerCpuArray => MapType::PERCPU_ARRAY,
        MapKind::ProgArray => MapType::PROG_ARRAY,
    };
    let spec = MapSpec::new(def.role.name(), map_type, def.key_size, def.value_size, def.max_entries)
        .flags(MapFlags::from_bits_retain(def.flags));
    if def.kind == MapKind::SkStorage {
        let btf = StorageBtf::load(def.value_size)?;
        return Ok(Map::create(&spec.btf(btf.for_map()))?);
    }
    Ok(Map::create(&spec)?)
}
