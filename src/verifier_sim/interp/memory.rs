//! Memory as separate regions, so that an address always says which object it was derived from.
//!
//! ```text
//! address   63..32            31..0
//!           region + 1        0x4000_0000 + offset
//! ```
//! The verifier lets a pointer stray at most 2^29 bytes from its object (BPF_MAX_VAR_OFF, include/linux/bpf_verifier.h).
//! With the object in the middle of a 4 GiB window of its own, no such pointer can reach another object: what would be
//! silent corruption in a flat address space is a [`Fault`] here.
//!
//! Numbers are in the byte order of the host (`crate::verifier_sim::byte_order`).

use std::fmt;

use super::fault::Fault;
use crate::verifier_sim::byte_order::{from_memory, to_memory};

/// Distance of a region's first byte from the start of its window.
const WINDOW_BIAS: u64 = 0x4000_0000;

/// A region of a [`Memory`], for as long as the memory lives: numbers are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u32);

impl RegionId {
    /// The address of the region's first byte.
    pub fn address(self) -> u64 {
        (u64::from(self.0) + 1) << 32 | WINDOW_BIAS
    }
}

/// What a region stands for; for messages, and to find the object behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionKind {
    /// One function's stack frame.
    Stack,
    /// The program's context structure.
    Context,
    /// The value of a map element.
    MapValue,
    /// A map itself: it has an address but no bytes a program can reach.
    Map(usize),
    /// Memory handed to the program by its caller.
    Input,
    /// A socket as programs see it (struct bpf_sock), with a number of the owner's choice.
    Socket(u64),
    /// A kernel object that is only read through fault-safe loads.
    Kernel,
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack => f.write_str("stack frame"),
            Self::Context => f.write_str("context"),
            Self::MapValue => f.write_str("map value"),
            Self::Map(index) => write!(f, "map object {index}"),
            Self::Input => f.write_str("input memory"),
            Self::Socket(number) => write!(f, "socket {number}"),
            Self::Kernel => f.write_str("kernel object"),
        }
    }
}

/// What programs may do with a region through plain loads and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
    /// Loads, and stores that lie wholly within one of these (start, end) byte ranges.
    WriteWithin(&'static [(u32, u32)]),
}

#[derive(Clone, Debug)]
struct Region {
    kind: RegionKind,
    bytes: Vec<u8>,
    access: Access,
    live: bool,
    /// The kernel's own object behind one that programs see rewritten.
    shadow: Option<RegionId>,
}

/// All memory a program can reach.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    regions: Vec<Region>,
}

impl Memory {
    /// An empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a region that holds `bytes`.
    pub fn add(&mut self, kind: RegionKind, access: Access, bytes: Vec<u8>) -> RegionId {
        let id = RegionId(self.regions.len() as u32);
        self.regions.push(Region { kind, bytes, access, live: true, shadow: None });
        id
    }

    /// Frees a region: every later access faults.
    pub fn free(&mut self, id: RegionId) {
        self.regions[id.0 as usize].live = false;
    }

    /// Gives a region new contents at the same address, as a slab allocator does with a freed object.
    pub fn reuse(&mut self, id: RegionId, kind: RegionKind, bytes: Vec<u8>) {
        let region = &mut self.regions[id.0 as usize];
        region.kind = kind;
        region.bytes = bytes;
        region.live = true;
    }

    /// Makes a freed region readable again, with the contents that it had.
    pub fn revive(&mut self, id: RegionId) {
        self.regions[id.0 as usize].live = true;
    }

    /// Makes `kernel` what fault-safe loads see at the address of `visible`.
    ///
    /// The kernel rewrites plain loads from `struct bpf_sock`, while `bpf_probe_read_kernel` at the same address reads
    /// the `struct sock` itself.
    pub fn set_shadow(&mut self, visible: RegionId, kernel: RegionId) {
        self.regions[visible.0 as usize].shadow = Some(kernel);
    }

    /// The bytes of a region, for its owner.
    pub fn bytes(&self, id: RegionId) -> &[u8] {
        &self.regions[id.0 as usize].bytes
    }

    /// The bytes of a region, for its owner: not subject to [`Access`].
    pub fn bytes_mut(&mut self, id: RegionId) -> &mut [u8] {
        &mut self.regions[id.0 as usize].bytes
    }

    /// The region an address points into or near, freed or not.
    pub fn region_of(&self, address: u64) -> Option<RegionId> {
        let number = (address >> 32).checked_sub(1)?;
        (number < self.regions.len() as u64).then_some(RegionId(number as u32))
    }

    /// What the live region at exactly this address is.
    pub fn kind_at(&self, address: u64) -> Option<RegionKind> {
        let id = self.region_of(address)?;
        let region = &self.regions[id.0 as usize];
        (region.live && id.address() == address).then_some(region.kind)
    }

    /// The address fault-safe loads use for `address`: that of the kernel's own object where there is one.
    pub fn kernel_address(&self, address: u64) -> u64 {
        match self.region_of(address).and_then(|id| Some((id, self.regions[id.0 as usize].shadow?))) {
            Some((visible, kernel)) => kernel.address().wrapping_add(address.wrapping_sub(visible.address())),
            None => address,
        }
    }

    fn locate(&self, address: u64, size: u64) -> Result<(usize, usize), Fault> {
        let id = self.region_of(address).ok_or(Fault::Unmapped(address))?;
        let region = &self.regions[id.0 as usize];
        let offset = address.wrapping_sub(id.address()) as i64;
        if !region.live {
            return Err(Fault::Freed(region.kind));
        }
        let len = region.bytes.len() as u64;
        match u64::try_from(offset) {
            Ok(start) if size <= len && start <= len - size => Ok((id.0 as usize, start as usize)),
            _ => Err(Fault::OutOfBounds { kind: region.kind, offset, size, len }),
        }
    }

    /// The `size` bytes at `address`.
    pub fn slice(&self, address: u64, size: u64) -> Result<&[u8], Fault> {
        let (region, start) = self.locate(address, size)?;
        Ok(&self.regions[region].bytes[start..start + size as usize])
    }

    /// The `size` bytes at `address`, to be stored to by a program or on its behalf.
    pub fn slice_mut(&mut self, address: u64, size: u64) -> Result<&mut [u8], Fault> {
        let (region, start) = self.locate(address, size)?;
        let region = &mut self.regions[region];
        let end = start + size as usize;
        let allowed = match region.access {
            Access::Read => false,
            Access::ReadWrite => true,
            Access::WriteWithin(ranges) => {
                ranges.iter().any(|&(from, to)| from as usize <= start && end <= to as usize)
            }
        };
        if !allowed {
            return Err(Fault::ReadOnly { kind: region.kind, offset: start as i64 });
        }
        Ok(&mut region.bytes[start..end])
    }

    /// Loads `size` bytes (1, 2, 4 or 8), zero-extended.
    pub fn load(&self, address: u64, size: u64) -> Result<u64, Fault> {
        self.slice(address, size).map(from_memory)
    }

    /// Stores the low `size` bytes (1, 2, 4 or 8) of `value`.
    pub fn store(&mut self, address: u64, size: u64, value: u64) -> Result<(), Fault> {
        self.slice_mut(address, size).map(|bytes| to_memory(bytes, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier_sim::byte_order::IS_BIG;

    #[test]
    fn every_access_stays_in_its_region() {
        let mut memory = Memory::new();
        let first = memory.add(RegionKind::Stack, Access::ReadWrite, vec![0; 16]);
        let second = memory.add(RegionKind::Input, Access::Read, vec![7; 16]);
        memory.store(first.address() + 8, 8, 0x1122_3344_5566_7788).unwrap();
        let first_half = if IS_BIG { 0x1122_3344 } else { 0x5566_7788 };
        assert_eq!(memory.load(first.address() + 8, 4), Ok(first_half));
        assert_eq!(memory.load(second.address() + 15, 1), Ok(7));
        for stray in [-1_i64, 9, 16, i64::from(i32::MAX) / 2, -(1 << 29)] {
            let address = first.address().wrapping_add_signed(stray);
            assert!(
                matches!(memory.load(address, 8), Err(Fault::OutOfBounds { kind: RegionKind::Stack, .. })),
                "offset {stray}"
            );
        }
        assert_eq!(memory.load(0, 1), Err(Fault::Unmapped(0)));
        assert_eq!(memory.load(u64::MAX, 8), Err(Fault::Unmapped(u64::MAX)));
        assert_eq!(memory.store(second.address(), 1, 0), Err(Fault::ReadOnly { kind: RegionKind::Input, offset: 0 }));
        memory.free(first);
        assert_eq!(memory.load(first.address(), 1), Err(Fault::Freed(RegionKind::Stack)));
    }

    #[test]
    fn stores_are_confined_to_the_writable_ranges() {
        let mut memory = Memory::new();
        let context = memory.add(RegionKind::Context, Access::WriteWithin(&[(4, 8), (12, 16)]), vec![0; 16]);
        for (offset, size, allowed) in
            [(4, 4, true), (12, 4, true), (5, 1, true), (0, 4, false), (4, 8, false), (8, 4, false)]
        {
            assert_eq!(memory.store(context.address() + offset, size, 1).is_ok(), allowed, "{size} at {offset}");
        }
    }

    #[test]
    fn fault_safe_loads_see_the_object_behind() {
        let mut memory = Memory::new();
        let seen = memory.add(RegionKind::Socket(1), Access::Read, vec![1; 8]);
        let kernel = memory.add(RegionKind::Kernel, Access::Read, vec![2; 64]);
        memory.set_shadow(seen, kernel);
        assert_eq!(memory.load(seen.address(), 1), Ok(1));
        assert_eq!(memory.load(memory.kernel_address(seen.address() + 40), 1), Ok(2));
        assert_eq!(memory.kernel_address(kernel.address()), kernel.address());
    }
}
