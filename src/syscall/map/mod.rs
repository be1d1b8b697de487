//! Maps: what they are to be ([`MapSpec`]), what they are ([`MapInfo`]), and their entries ([`Map`]).

pub(super) mod info;
mod keys;
mod percpu;
mod spec;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub use info::MapInfo;
pub use keys::Keys;
pub use percpu::possible_cpus;
pub use spec::{MapBtf, MapFlags, MapSpec, UpdateFlags};

use super::errno::Errno;
use super::error::{Error, Operation, Result};
use super::sys::{self, Command};
use super::{attr, id, pin};
use crate::uapi::MapType;

/// A map, held by a descriptor of ours.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    name: String,
    map_type: MapType,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

impl Map {
    /// Creates a map (BPF_MAP_CREATE).
    pub fn create(spec: &MapSpec<'_>) -> Result<Self> {
        let mut attr = attr::MapCreate {
            map_type: spec.map_type.number(),
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            map_flags: spec.flags.bits(),
            inner_map_fd: spec.inner.map_or(0, |fd| fd.as_raw_fd() as u32),
            map_name: info::name_field(spec.name)?,
            btf_fd: spec.btf.map_or(0, |btf| btf.fd.as_raw_fd() as u32),
            btf_key_type_id: spec.btf.map_or(0, |btf| btf.key_type_id),
            btf_value_type_id: spec.btf.map_or(0, |btf| btf.value_type_id),
            ..attr::MapCreate::default()
        };
        // SAFETY: the view holds numbers only, no addresses; the command returns a descriptor.
        let fd = unsafe { sys::bpf_fd(Command::MapCreate, &mut attr) }.map_err(|errno| {
            Error::call(Operation::MapCreate, format!("the {} map {:?}", spec.map_type, spec.name), errno)
        })?;
        Ok(Self {
            fd,
            name: spec.name.to_owned(),
            map_type: spec.map_type,
            key_size: spec.key_size as usize,
            value_size: spec.value_size as usize,
            max_entries: spec.max_entries,
        })
    }

    /// A second descriptor of the same map.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone();
        let fd = fd.map_err(|error| Error::Invalid(format!("cannot hold a map twice: {error}")))?;
        Ok(Self { fd, name: self.name.clone(), ..*self })
    }

    /// Takes over a descriptor of a map; its sizes are asked from the kernel.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        id::check(id::Kind::Map, fd.as_fd())?;
        let info = info::of(fd.as_fd())?;
        Ok(Self {
            fd,
            name: info.name,
            map_type: info.map_type,
            key_size: info.key_size as usize,
            value_size: info.value_size as usize,
            max_entries: info.max_entries,
        })
    }

    /// Opens the map with the kernel's number `id` (takes CAP_SYS_ADMIN).
    pub fn from_id(id: u32) -> Result<Self> {
        Self::from_fd(id::open(id::Kind::Map, id)?)
    }

    /// Opens the map pinned at `path`.
    pub fn from_pin(path: &Path) -> Result<Self> {
        Self::from_fd(pin::get(path)?)
    }

    /// Pins it at `path`, on a bpf file system: it then lives until the pin is removed.
    pub fn pin(&self, path: &Path) -> Result<()> {
        pin::pin(self.fd.as_fd(), path)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn map_type(&self) -> MapType {
        self.map_type
    }

    /// Bytes in a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes in a value (of one CPU, if it has one for each).
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// The most entries it can hold.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// What the kernel says of it.
    pub fn info(&self) -> Result<MapInfo> {
        info::of(self.fd.as_fd())
    }

    /// The value of `key`, or `None` when there is no such entry. A socket map gives the socket's cookie, and only
    /// when its values have 8 bytes.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.refuse_per_cpu("lookup_percpu")?;
        self.fetch(key, self.value_size)
    }

    /// The values of `key`, one for each possible CPU.
    pub fn lookup_percpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        if !self.map_type.is_per_cpu() {
            return Err(Error::Invalid(format!("{} has one value for all CPUs; use lookup", self.describe())));
        }
        let stride = percpu::stride(self.value_size);
        let all = self.fetch(key, stride * possible_cpus()?)?;
        Ok(all.map(|all| all.chunks_exact(stride).map(|slot| slot[..self.value_size].to_vec()).collect()))
    }

    /// Writes the value of `key`.
    pub fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<()> {
        self.refuse_per_cpu("update_percpu")?;
        self.check_len("value", value.len(), self.value_size)?;
        self.store(key, value, flags)
    }

    /// Writes the values of `key`, one for each possible CPU.
    pub fn update_percpu(&self, key: &[u8], values: &[Vec<u8>], flags: UpdateFlags) -> Result<()> {
        let cpus = possible_cpus()?;
        if !self.map_type.is_per_cpu() || values.len() != cpus {
            return Err(Error::Invalid(format!(
                "{} cannot be written with {} values; per-CPU maps take {cpus} here, others one",
                self.describe(),
                values.len()
            )));
        }
        let stride = percpu::stride(self.value_size);
        let mut all = vec![0; stride * cpus];
        for (slot, value) in all.chunks_exact_mut(stride).zip(values) {
            self.check_len("value", value.len(), self.value_size)?;
            slot[..value.len()].copy_from_slice(value);
        }
        self.store(key, &all, flags)
    }

    /// Deletes `key`; says whether it was there. Never delete a socket map's entry that may hold unread bytes.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_len("key", key.len(), self.key_size)?;
        let mut attr = self.elem();
        attr.key = sys::address(key);
        // SAFETY: `key` lives through the call and has the map's key size; nothing is written.
        match unsafe { sys::bpf(Command::MapDeleteElem, &mut attr) } {
            Ok(_) => Ok(true),
            // Socket arrays answer EINVAL for an empty slot, everything else ENOENT (net/core/sock_map.c).
            Err(Errno::ENOENT) => Ok(false),
            Err(Errno::EINVAL) if self.map_type == MapType::SOCKMAP => Ok(false),
            Err(errno) => Err(Error::call(Operation::MapDelete, self.describe(), errno)),
        }
    }

    /// Walks the keys. Safe against entries that come and go meanwhile: no key comes twice, and the walk ends.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self)
    }

    /// Makes it read-only for user space, forever (5.2).
    pub fn freeze(&self) -> Result<()> {
        let mut attr = self.elem();
        // SAFETY: the view holds no addresses.
        unsafe { sys::bpf(Command::MapFreeze, &mut attr) }
            .map_err(|errno| Error::call(Operation::MapFreeze, self.describe(), errno))?;
        Ok(())
    }

    /// A noun phrase for messages.
    pub(super) fn describe(&self) -> String {
        format!("the {} map {:?}", self.map_type, self.name)
    }

    fn elem(&self) -> attr::MapElem {
        attr::MapElem { map_fd: self.fd.as_raw_fd() as u32, ..attr::MapElem::default() }
    }

    fn fetch(&self, key: &[u8], value_len: usize) -> Result<Option<Vec<u8>>> {
        self.check_len("key", key.len(), self.key_size)?;
        if self.map_type.name().is_none() {
            // Without knowing the type we cannot know how much the kernel would write.
            return Err(Error::Invalid(format!("reading from a {} map is not supported", self.map_type)));
        }
        let mut value = vec![0; value_len];
        let mut attr = self.elem();
        attr.key = sys::address(key);
        attr.value = sys::address_mut(&mut value);
        // SAFETY: `key` has the map's key size and `value` room for what the kernel copies out: the value size, for
        // per-CPU maps rounded up to 8 for each possible CPU (bpf_map_value_size). Both live through the call.
        match unsafe { sys::bpf(Command::MapLookupElem, &mut attr) } {
            Ok(_) => Ok(Some(value)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(Operation::MapLookup, self.describe(), errno)),
        }
    }

    fn store(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<()> {
        self.check_len("key", key.len(), self.key_size)?;
        let mut attr = self.elem();
        attr.key = sys::address(key);
        attr.value = sys::address(value);
        attr.flags = flags.bits();
        // SAFETY: `key` and `value` have the sizes that the kernel reads (checked here and by the callers) and live
        // through the call; nothing is written.
        unsafe { sys::bpf(Command::MapUpdateElem, &mut attr) }
            .map_err(|errno| Error::call(Operation::MapUpdate, self.describe(), errno))?;
        Ok(())
    }

    fn check_len(&self, what: &str, len: usize, expected: usize) -> Result<()> {
        if len == expected {
            return Ok(());
        }
        Err(Error::Invalid(format!("a {what} of {} has {expected} bytes, not {len}", self.describe())))
    }

    fn refuse_per_cpu(&self, instead: &str) -> Result<()> {
        if self.map_type.is_per_cpu() {
            return Err(Error::Invalid(format!("{} has a value for every CPU; use {instead}", self.describe())));
        }
        Ok(())
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
