//! Maps on concrete bytes: what programs do through helpers, and user space through bpf(2).
//!
//! A deleted element's memory stays readable, as RCU keeps it on a real kernel until the program has ended.

use std::collections::BTreeMap;

use super::memory::{Access, Memory, RegionId, RegionKind};
use crate::verifier_sim::spec::{MapSpec, MapType};

/// An error number as helpers return it: negative.
pub type Errno = i64;

/// -ENOENT.
pub const ENOENT: Errno = -2;
/// -E2BIG.
pub const E2BIG: Errno = -7;
/// -EEXIST.
pub const EEXIST: Errno = -17;
/// -EINVAL.
pub const EINVAL: Errno = -22;
/// -EOPNOTSUPP.
pub const EOPNOTSUPP: Errno = -95;

/// `BPF_NOEXIST`: create, but do not replace (include/uapi/linux/bpf.h).
pub const NOEXIST: u64 = 1;
/// `BPF_EXIST`: replace, but do not create.
pub const EXIST: u64 = 2;

/// `BPF_F_RDONLY_PROG`: programs may only read the values.
const F_RDONLY_PROG: u32 = 1 << 7;

/// Largest value size the interpreter keeps; the kernel's own limit is about 4 GiB (`KMALLOC_MAX_SIZE` for hashes).
const VALUE_SIZE_MAX: u32 = 1 << 20;

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number below `max_entries`; every element always exists.
    Array,
    /// The key's bytes.
    Hash,
    /// As [`Kind::Hash`], and the least recently used element makes room for a new one.
    Lru,
    /// A prefix length in bits and the bits.
    Lpm,
    /// The key's bytes; the value is a socket.
    SockHash,
    /// A socket; used only through the storage helpers.
    SkStorage,
    /// No elements: bytes are sent through it to user space.
    Ring,
    /// Elements that only the environment's helpers can reach.
    Opaque,
}

/// One map.
#[derive(Clone, Debug)]
pub struct Map {
    spec: MapSpec,
    kind: Kind,
    /// Copies of each value: one a CPU for per-CPU types.
    copies: u32,
    elements: BTreeMap<Vec<u8>, Element>,
    sockets: BTreeMap<Vec<u8>, u64>,
    /// Values of freed socket storage: the next socket's storage gets the same address, as from a slab.
    free: Vec<RegionId>,
    /// Records sent through a ring buffer, oldest first.
    records: Vec<Vec<u8>>,
    clock: u64,
}

#[derive(Clone, Debug)]
struct Element {
    values: Vec<RegionId>,
    used: u64,
}

impl Map {
    /// A map with the shape of `spec` on a machine of `cpus` processors; `None` for types the interpreter does not have.
    pub fn new(spec: &MapSpec, cpus: u32) -> Option<Self> {
        let (kind, per_cpu) = match spec.map_type {
            MapType::ARRAY => (Kind::Array, false),
            MapType::PERCPU_ARRAY => (Kind::Array, true),
            MapType::HASH => (Kind::Hash, false),
            MapType::PERCPU_HASH => (Kind::Hash, true),
            MapType::LRU_HASH => (Kind::Lru, false),
            MapType::LRU_PERCPU_HASH => (Kind::Lru, true),
            MapType::LPM_TRIE => (Kind::Lpm, false),
            MapType::SOCKHASH => (Kind::SockHash, false),
            MapType::SK_STORAGE => (Kind::SkStorage, false),
            MapType::RINGBUF | MapType::PERF_EVENT_ARRAY => (Kind::Ring, false),
            MapType::PROG_ARRAY | MapType::QUEUE | MapType::STACK => (Kind::Opaque, false),
            _ => return None,
        };
        if spec.value_size > VALUE_SIZE_MAX || (kind == Kind::Lpm && spec.key_size < 5) {
            return None;
        }
        Some(Self {
            spec: spec.clone(),
            kind,
            copies: if per_cpu { cpus.max(1) } else { 1 },
            elements: BTreeMap::new(),
            sockets: BTreeMap::new(),
            free: Vec::new(),
            records: Vec::new(),
            clock: 0,
        })
    }

    /// The map's shape.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// Number of elements that exist; for arrays, that were touched.
    pub fn len(&self) -> usize {
        self.elements.len() + self.sockets.len()
    }

    /// Whether [`Map::len`] is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that exist, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.elements.keys().chain(self.sockets.keys()).map(Vec::as_slice)
    }

    /// The records a program sent through a ring buffer.
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// Appends a record to a ring buffer; whether this map is one.
    pub fn push_record(&mut self, record: &[u8]) -> bool {
        if self.kind == Kind::Ring {
            self.records.push(record.to_vec());
        }
        self.kind == Kind::Ring
    }

    /// Whether values can be reached by a direct address (array of one element, include/linux/bpf.h `map_direct_value_addr`).
    pub fn has_direct_value(&self) -> bool {
        self.kind == Kind::Array && self.copies == 1 && self.spec.max_entries == 1
    }

    /// Whether this is a socket hash.
    pub fn is_sock_hash(&self) -> bool {
        self.kind == Kind::SockHash
    }

    /// Whether this is socket-local storage.
    pub fn is_sk_storage(&self) -> bool {
        self.kind == Kind::SkStorage
    }

    fn new_element(&mut self, memory: &mut Memory) -> Element {
        let size = self.spec.value_size as usize;
        let first = self.spec.data.clone().filter(|data| data.len() == size).unwrap_or_else(|| vec![0; size]);
        let constant = self.spec.map_flags & F_RDONLY_PROG != 0;
        let access = if constant { Access::Read } else { Access::ReadWrite };
        let values = (0..self.copies).map(|_| memory.add(RegionKind::MapValue, access, first.clone())).collect();
        self.clock += 1;
        Element { values, used: self.clock }
    }

    /// The region of the value under `key`, as `cpu` sees it.
    pub fn lookup(&mut self, memory: &mut Memory, key: &[u8], cpu: u32) -> Option<RegionId> {
        if key.len() != self.spec.key_size as usize {
            return None;
        }
        let copy = if self.copies == 1 { 0 } else { (cpu % self.copies) as usize };
        match self.kind {
            Kind::Array => {
                let index = u32::from_ne_bytes(key.try_into().ok()?);
                if index >= self.spec.max_entries {
                    return None;
                }
                if !self.elements.contains_key(key) {
                    let element = self.new_element(memory);
                    self.elements.insert(key.to_vec(), element);
                }
                self.elements.get(key).map(|element| element.values[copy])
            }
            Kind::Lpm => {
                let best = self.elements.keys().filter(|stored| covers(stored, key)).max_by_key(|k| prefix(k))?;
                Some(self.elements[best].values[copy])
            }
            Kind::Hash | Kind::Lru => {
                self.clock += 1;
                let element = self.elements.get_mut(key)?;
                element.used = self.clock;
                Some(element.values[copy])
            }
            Kind::SockHash | Kind::SkStorage | Kind::Ring | Kind::Opaque => None,
        }
    }

    /// Stores `value` under `key` with the kernel's flag rules.
    pub fn update(&mut self, memory: &mut Memory, key: &[u8], value: &[u8], flags: u64, cpu: u32) -> Result<(), Errno> {
        if key.len() != self.spec.key_size as usize || value.len() != self.spec.value_size as usize {
            return Err(EINVAL);
        }
        if flags > EXIST || matches!(self.kind, Kind::SockHash | Kind::SkStorage | Kind::Ring | Kind::Opaque) {
            return Err(EINVAL);
        }
        if self.kind == Kind::Array {
            if flags == NOEXIST {
                return Err(EEXIST);
            }
            let region = self.lookup(memory, key, cpu).ok_or(E2BIG)?;
            memory.bytes_mut(region).copy_from_slice(value);
            return Ok(());
        }
        if self.kind == Kind::Lpm && prefix(key) as usize > (key.len() - 4) * 8 {
            return Err(EINVAL);
        }
        match (self.elements.contains_key(key), flags) {
            (true, NOEXIST) => return Err(EEXIST),
            (false, EXIST) => return Err(ENOENT),
            (false, _) if self.elements.len() >= self.spec.max_entries as usize => {
                if self.kind != Kind::Lru {
                    return Err(E2BIG);
                }
                self.evict();
            }
            _ => {}
        }
        // A hash never changes a value in place: it replaces the element. Readers keep the old bytes. Per-CPU values
        // are an exception: a program only ever writes its own CPU's copy.
        let mut element = self.new_element(memory);
        if self.copies > 1
            && let Some(old) = self.elements.get(key)
        {
            element.values.clone_from(&old.values);
        }
        let copy = if self.copies == 1 { 0 } else { (cpu % self.copies) as usize };
        memory.bytes_mut(element.values[copy]).copy_from_slice(value);
        self.elements.insert(key.to_vec(), element);
        Ok(())
    }

    /// Removes the element under `key`.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), Errno> {
        match self.kind {
            Kind::Array | Kind::SkStorage | Kind::Ring | Kind::Opaque => Err(EINVAL),
            Kind::SockHash => self.sockets.remove(key).map(drop).ok_or(ENOENT),
            Kind::Hash | Kind::Lru | Kind::Lpm => self.elements.remove(key).map(drop).ok_or(ENOENT),
        }
    }

    fn evict(&mut self) {
        let oldest = self.elements.iter().min_by_key(|(_, element)| element.used).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.elements.remove(&key);
        }
    }

    /// Drops the least recently used element of an LRU map now: on a real kernel it may go before the map is full,
    /// since the free list is refilled in batches.
    pub fn evict_early(&mut self) {
        if self.kind == Kind::Lru {
            self.evict();
        }
    }

    /// The socket under `key` of a socket hash.
    pub fn socket(&self, key: &[u8]) -> Option<u64> {
        self.sockets.get(key).copied()
    }

    /// Puts a socket into a socket hash, with the flag rules of `sock_hash_update_common` (net/core/sock_map.c).
    pub fn set_socket(&mut self, key: &[u8], socket: u64, flags: u64) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(EINVAL);
        }
        match (self.sockets.contains_key(key), flags) {
            (true, NOEXIST) => return Err(EEXIST),
            (false, EXIST) => return Err(ENOENT),
            (false, _) if self.sockets.len() >= self.spec.max_entries as usize => return Err(E2BIG),
            _ => {}
        }
        self.sockets.insert(key.to_vec(), socket);
        Ok(())
    }

    /// Removes every entry of `socket` from a socket hash, as closing it does.
    pub fn forget_socket(&mut self, socket: u64) {
        self.sockets.retain(|_, held| *held != socket);
    }

    /// The number of entries a socket has in a socket hash.
    pub fn entries_of(&self, socket: u64) -> usize {
        self.sockets.values().filter(|held| **held == socket).count()
    }

    /// The storage of `socket`, if there is one.
    pub fn storage(&self, socket: u64) -> Option<RegionId> {
        self.elements.get(socket.to_ne_bytes().as_slice()).map(|element| element.values[0])
    }

    /// The storage of `socket`, made with `initial` bytes (zeros when `None`) if there is none.
    pub fn storage_or_create(&mut self, memory: &mut Memory, socket: u64, initial: Option<&[u8]>) -> RegionId {
        if let Some(region) = self.storage(socket) {
            return region;
        }
        let element = match self.free.pop() {
            Some(old) => {
                memory.reuse(old, RegionKind::MapValue, vec![0; self.spec.value_size as usize]);
                self.clock += 1;
                Element { values: vec![old], used: self.clock }
            }
            None => self.new_element(memory),
        };
        let region = element.values[0];
        if let Some(initial) = initial.filter(|initial| initial.len() == self.spec.value_size as usize) {
            memory.bytes_mut(region).copy_from_slice(initial);
        }
        self.elements.insert(socket.to_ne_bytes().to_vec(), element);
        region
    }

    /// Memory of freed storage that no other socket has got yet.
    pub fn free_storage(&self) -> &[RegionId] {
        &self.free
    }

    /// Frees the storage of `socket`; whether there was one.
    pub fn delete_storage(&mut self, socket: u64) -> bool {
        let removed = self.elements.remove(socket.to_ne_bytes().as_slice());
        if let Some(element) = &removed {
            self.free.extend(&element.values);
        }
        removed.is_some()
    }
}

/// Prefix length of an LPM key: its first four bytes (struct bpf_lpm_trie_key, include/uapi/linux/bpf.h).
fn prefix(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Whether the stored prefix matches the address in `key`.
fn covers(stored: &[u8], key: &[u8]) -> bool {
    let bits = prefix(stored);
    if bits > prefix(key) || stored.len() != key.len() {
        return false;
    }
    let (whole, rest) = ((bits / 8) as usize, bits % 8);
    let (stored, key) = (&stored[4..], &key[4..]);
    stored[..whole] == key[..whole] && (rest == 0 || (stored[whole] ^ key[whole]) >> (8 - rest) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(map_type: MapType, key_size: u32, max_entries: u32) -> (Map, Memory) {
        let spec = MapSpec { map_type, key_size, value_size: 4, max_entries, ..MapSpec::default() };
        (Map::new(&spec, 2).unwrap(), Memory::new())
    }

    fn value(map: &mut Map, memory: &mut Memory, key: &[u8], cpu: u32) -> Option<u32> {
        let region = map.lookup(memory, key, cpu)?;
        Some(u32::from_ne_bytes(memory.bytes(region).try_into().unwrap()))
    }

    #[test]
    fn hash_obeys_the_flags_and_the_limit() {
        let (mut map, mut memory) = map(MapType::HASH, 1, 2);
        assert_eq!(map.update(&mut memory, &[1], &9_u32.to_ne_bytes(), EXIST, 0), Err(ENOENT));
        assert_eq!(map.update(&mut memory, &[1], &9_u32.to_ne_bytes(), NOEXIST, 0), Ok(()));
        assert_eq!(map.update(&mut memory, &[1], &8_u32.to_ne_bytes(), NOEXIST, 0), Err(EEXIST));
        assert_eq!(map.update(&mut memory, &[2], &8_u32.to_ne_bytes(), 0, 0), Ok(()));
        assert_eq!(map.update(&mut memory, &[3], &8_u32.to_ne_bytes(), 0, 0), Err(E2BIG));
        assert_eq!(map.update(&mut memory, &[1], &7_u32.to_ne_bytes(), 4, 0), Err(EINVAL));
        assert_eq!(value(&mut map, &mut memory, &[1], 0), Some(9));
        assert_eq!(map.delete(&[1]), Ok(()));
        assert_eq!(map.delete(&[1]), Err(ENOENT));
        assert_eq!(value(&mut map, &mut memory, &[1], 0), None);
    }

    #[test]
    fn a_replaced_value_stays_readable_for_those_who_have_it() {
        let (mut map, mut memory) = map(MapType::HASH, 1, 2);
        map.update(&mut memory, &[1], &1_u32.to_ne_bytes(), 0, 0).unwrap();
        let old = map.lookup(&mut memory, &[1], 0).unwrap();
        map.update(&mut memory, &[1], &2_u32.to_ne_bytes(), 0, 0).unwrap();
        assert_eq!(memory.load(old.address(), 4), Ok(1));
        assert_eq!(value(&mut map, &mut memory, &[1], 0), Some(2));
    }

    #[test]
    fn lru_drops_the_least_recently_used() {
        let (mut map, mut memory) = map(MapType::LRU_HASH, 1, 2);
        map.update(&mut memory, &[1], &1_u32.to_ne_bytes(), 0, 0).unwrap();
        map.update(&mut memory, &[2], &2_u32.to_ne_bytes(), 0, 0).unwrap();
        assert_eq!(value(&mut map, &mut memory, &[1], 0), Some(1));
        map.update(&mut memory, &[3], &3_u32.to_ne_bytes(), 0, 0).unwrap();
        assert_eq!(value(&mut map, &mut memory, &[2], 0), None);
        assert_eq!(value(&mut map, &mut memory, &[1], 0), Some(1));
    }

    #[test]
    fn arrays_exist_whole_and_per_cpu_values_are_apart() {
        let (mut map, mut memory) = map(MapType::PERCPU_ARRAY, 4, 2);
        let key = 1_u32.to_ne_bytes();
        assert_eq!(value(&mut map, &mut memory, &key, 0), Some(0));
        map.update(&mut memory, &key, &5_u32.to_ne_bytes(), 0, 1).unwrap();
        assert_eq!(value(&mut map, &mut memory, &key, 0), Some(0));
        assert_eq!(value(&mut map, &mut memory, &key, 1), Some(5));
        assert_eq!(value(&mut map, &mut memory, &2_u32.to_ne_bytes(), 0), None);
        assert_eq!(map.update(&mut memory, &2_u32.to_ne_bytes(), &[0; 4], 0, 0), Err(E2BIG));
        assert_eq!(map.update(&mut memory, &key, &[0; 4], NOEXIST, 0), Err(EEXIST));
        assert_eq!(map.delete(&key), Err(EINVAL));
    }

    #[test]
    fn the_longest_prefix_wins() {
        let (mut map, mut memory) = map(MapType::LPM_TRIE, 8, 8);
        let key = |bits: u32, a: u8, b: u8| [&bits.to_ne_bytes()[..], &[a, b, 0, 0]].concat();
        map.update(&mut memory, &key(8, 10, 0), &1_u32.to_ne_bytes(), 0, 0).unwrap();
        map.update(&mut memory, &key(12, 10, 0x50), &2_u32.to_ne_bytes(), 0, 0).unwrap();
        assert_eq!(value(&mut map, &mut memory, &key(32, 10, 0x5f), 0), Some(2));
        assert_eq!(value(&mut map, &mut memory, &key(32, 10, 0x60), 0), Some(1));
        assert_eq!(value(&mut map, &mut memory, &key(32, 11, 0x50), 0), None);
        assert_eq!(map.update(&mut memory, &key(33, 0, 0), &[0; 4], 0, 0), Err(EINVAL));
    }

    #[test]
    fn a_closed_socket_leaves_the_hash_and_its_storage() {
        let (mut hash, _) = map(MapType::SOCKHASH, 8, 2);
        assert_eq!(hash.set_socket(&[1; 8], 70, NOEXIST), Ok(()));
        assert_eq!(hash.set_socket(&[1; 8], 71, NOEXIST), Err(EEXIST));
        assert_eq!(hash.set_socket(&[2; 8], 70, 0), Ok(()));
        assert_eq!(hash.set_socket(&[3; 8], 72, 0), Err(E2BIG));
        assert_eq!((hash.socket(&[1; 8]), hash.entries_of(70)), (Some(70), 2));
        hash.forget_socket(70);
        assert!(hash.is_empty());

        let (mut storage, mut memory) = map(MapType::SK_STORAGE, 4, 0);
        let region = storage.storage_or_create(&mut memory, 7, Some(&[1, 2, 3, 4]));
        assert_eq!(storage.storage_or_create(&mut memory, 7, None), region);
        assert_eq!(memory.bytes(region), [1, 2, 3, 4]);
        assert!(storage.delete_storage(7));
        assert!(!storage.delete_storage(7));
        assert_eq!(storage.storage(7), None);
    }
}
