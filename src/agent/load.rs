//! The data plane as kernel objects: maps created, programs loaded, nothing attached.

use std::os::fd::{AsFd, AsRawFd};

use super::error::{Doing, Result};
use crate::asm;
use crate::dataplane::{self, Config, DataPlane, MapDef, MapKind, MapRole};
use crate::syscall::btf::StorageBtf;
use crate::syscall::{
    AttachType, Btf, Map, MapFlags, MapSpec, MapType, ProgSpec, ProgType, Program, UpdateFlags, memlock,
};

/// The loaded maps and programs. Dropping it frees them, unless something is attached or pinned.
#[derive(Debug)]
pub struct Loaded {
    maps: Vec<Map>,
    /// The sock_ops program.
    pub sock_ops: Program,
    /// The sk_msg program.
    pub sk_msg: Program,
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
        let encode = |program: &asm::Program| {
            program.encode_native(|map| maps.get(map.0 as usize).map(|map| map.as_fd().as_raw_fd()))
        };
        let load = |name, prog_type, program: &asm::Program, drain: bool| -> Result<Program> {
            let insns = encode(program)?;
            let mut spec = ProgSpec::new(name, prog_type, &insns);
            spec.license = dataplane::LICENSE;
            if drain {
                spec.expected_attach_type = Some(AttachType::TraceIter);
                spec.attach_btf_id = iter_sockmap_id()?;
            }
            Ok(Program::load(&spec)?)
        };
        let sock_ops = load("sidestep_ops", ProgType::SockOps, &plane.sock_ops, false)?;
        let sk_msg = load("sidestep_msg", ProgType::SkMsg, &plane.sk_msg, false)?;
        let drain =
            plane.drain.as_ref().map(|program| load("sidestep_drain", ProgType::Tracing, program, true)).transpose()?;
        let opt_out = plane
            .opt_out
            .as_ref()
            .map(|program| load("sidestep_out", ProgType::SockOps, program, false))
            .transpose()?;
        let loaded = Self { maps, sock_ops, sk_msg, drain, opt_out };
        loaded.configure(config)?;
        Ok(loaded)
    }

    /// The map that plays `role`.
    pub fn map(&self, role: MapRole) -> &Map {
        &self.maps[role as usize]
    }

    /// Writes the config map: takes effect with the next message and the next connection.
    pub fn configure(&self, config: Config) -> Result<()> {
        self.map(MapRole::Config)
            .update(&0_u32.to_ne_bytes(), &config.to_bytes(), UpdateFlags::empty())
            .doing("write the configuration")
    }
}

fn create(def: &MapDef) -> Result<Map> {
    let map_type = match def.kind {
        MapKind::SockHash => MapType::Sockhash,
        MapKind::SkStorage => MapType::SkStorage,
        MapKind::LruHash => MapType::LruHash,
        MapKind::Array => MapType::Array,
        MapKind::PerCpuArray => MapType::PercpuArray,
    };
    let spec = MapSpec::new(def.role.name(), map_type, def.key_size, def.value_size, def.max_entries)
        .flags(MapFlags::from_bits_retain(def.flags));
    if def.kind == MapKind::SkStorage {
        let btf = StorageBtf::load(def.value_size)?;
        return Ok(Map::create(&spec.btf(btf.for_map()))?);
    }
    Ok(Map::create(&spec)?)
}

/// The BTF id of the iterator the drain attaches to (`DEFINE_BPF_ITER_FUNC(sockmap, ...)`, net/core/sock_map.c).
fn iter_sockmap_id() -> Result<u32> {
    let btf = Btf::vmlinux().doing("read the kernel's BTF")?;
    Ok(btf.func_by_name("bpf_iter_sockmap").ok_or(crate::syscall::Error::Missing {
        what: "the iterator bpf_iter_sockmap".into(),
        remedy: "it needs Linux 5.10 or later with CONFIG_BPF_SYSCALL and CONFIG_NET_SOCK_MSG",
    })?)
}
