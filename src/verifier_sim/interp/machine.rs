//! The state that outlives a run: memory, maps, the processor the program runs on.

use super::map::Map;
use super::memory::{Access, Memory, RegionId, RegionKind};
use crate::verifier_sim::spec::MapSpec;

/// Size of a stack frame: `MAX_BPF_STACK` (include/linux/filter.h).
pub(super) const STACK_SIZE: usize = 512;

/// Memory and maps that programs share.
#[derive(Clone, Debug)]
pub struct Machine {
    /// All memory.
    pub memory: Memory,
    /// The processor the next program runs on; picks the copy of per-CPU values.
    pub cpu: u32,
    /// What fresh stack bytes hold. Programs must not depend on it.
    pub stack_fill: u8,
    cpus: u32,
    maps: Vec<(Map, RegionId)>,
    frames: Vec<RegionId>,
}

impl Machine {
    /// A machine with `cpus` processors and no maps.
    pub fn new(cpus: u32) -> Self {
        Self { memory: Memory::new(), cpu: 0, stack_fill: 0xa5, cpus, maps: Vec::new(), frames: Vec::new() }
    }

    /// Creates a map and returns its number; `None` for types the interpreter does not have.
    pub fn add_map(&mut self, spec: &MapSpec) -> Option<usize> {
        let map = Map::new(spec, self.cpus)?;
        let number = self.maps.len();
        let region = self.memory.add(RegionKind::Map(number), Access::Read, Vec::new());
        self.maps.push((map, region));
        Some(number)
    }

    /// A map by number.
    pub fn map(&self, number: usize) -> Option<&Map> {
        self.maps.get(number).map(|(map, _)| map)
    }

    /// A map by number together with the memory its values live in.
    pub fn map_and_memory(&mut self, number: usize) -> Option<(&mut Map, &mut Memory)> {
        let (map, _) = self.maps.get_mut(number)?;
        Some((map, &mut self.memory))
    }

    /// All maps.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Map> {
        self.maps.iter_mut().map(|(map, _)| map)
    }

    /// The address that stands for a map in programs.
    pub fn map_address(&self, number: usize) -> Option<u64> {
        self.maps.get(number).map(|(_, region)| region.address())
    }

    /// The number of the map that `address` stands for.
    pub fn map_at(&self, address: u64) -> Option<usize> {
        match self.memory.kind_at(address)? {
            RegionKind::Map(number) => Some(number),
            _ => None,
        }
    }

    /// The value under `key` as the current processor sees it, for the map's owner in user space.
    pub fn value(&mut self, map: usize, key: &[u8]) -> Option<&mut [u8]> {
        let cpu = self.cpu;
        let (map, memory) = self.map_and_memory(map)?;
        let region = map.lookup(memory, key, cpu)?;
        Some(memory.bytes_mut(region))
    }

    /// Makes stack frame number `depth` ready and returns the address of its end, the frame pointer.
    pub(super) fn enter_frame(&mut self, depth: usize) -> u64 {
        let bytes = vec![self.stack_fill; STACK_SIZE];
        let region = match self.frames.get(depth) {
            Some(&region) => {
                self.memory.reuse(region, RegionKind::Stack, bytes);
                region
            }
            None => {
                let region = self.memory.add(RegionKind::Stack, Access::ReadWrite, bytes);
                self.frames.push(region);
                region
            }
        };
        region.address() + STACK_SIZE as u64
    }

    /// The frame pointer of stack frame number `depth`.
    pub(super) fn frame_pointer(&self, depth: usize) -> u64 {
        self.frames.get(depth).map_or(0, |region| region.address() + STACK_SIZE as u64)
    }

    /// Ends stack frame number `depth`: pointers to it are dangling from here on.
    pub(super) fn leave_frame(&mut self, depth: usize) {
        if let Some(&region) = self.frames.get(depth) {
            self.memory.free(region);
        }
    }
}
