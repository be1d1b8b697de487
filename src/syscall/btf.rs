//! The running kernel's type information, and type information that the kernel was given.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::attr;
use super::error::{Error, Operation, Result};
use super::map::MapBtf;
use super::sys::{self, Command};
use crate::btf::{Btf, BtfBuilder};

/// Where the kernel shows its own types (CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
pub fn vmlinux() -> Result<Btf> {
    let path = Path::new(VMLINUX);
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Missing {
            what: format!("type information ({VMLINUX})"),
            remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        },
        _ => Error::file("read", path, &error),
    })?;
    Ok(Btf::parse(bytes)?)
}

/// The same, read once for all that hold it at the same time: the file has megabytes.
pub fn shared_vmlinux() -> Result<Arc<Btf>> {
    static HELD: Mutex<Weak<Btf>> = Mutex::new(Weak::new());
    // What a thread that panicked has left there is whole.
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(btf) = held.upgrade() {
        return Ok(btf);
    }
    let btf = Arc::new(vmlinux()?);
    *held = Arc::downgrade(&btf);
    Ok(btf)
}

/// A loaded BTF object (BPF_BTF_LOAD, 4.18).
#[derive(Debug)]
pub struct BtfObject {
    fd: OwnedFd,
}

impl BtfObject {
    /// Loads BTF in its binary form (takes CAP_BPF).
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let mut attr =
            attr::BtfLoad { btf: sys::address(bytes), btf_size: bytes.len() as u32, ..attr::BtfLoad::default() };
        // SAFETY: `btf` is the address of `bytes`, which lives through the call and has `btf_size` bytes; there is no
        // log; the command returns a descriptor.
        let fd = unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }
            .map_err(|errno| Error::call(Operation::BtfLoad, "type information (BTF)", errno))?;
        Ok(Self { fd })
    }
}

impl AsFd for BtfObject {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The types of a storage map: a 4-byte integer as key, as the kernel demands (bpf_local_storage_map_check_btf), and a
/// value of so many bytes.
#[derive(Debug)]
pub struct StorageBtf {
    object: BtfObject,
    key: u32,
    value: u32,
}

impl StorageBtf {
    /// Types for values of `value_size` bytes.
    pub fn load(value_size: u32) -> Result<Self> {
        let mut builder = <BtfBuilder>::new();
        let key = builder.int("int", 4, true);
        let byte = builder.int("unsigned char", 1, false);
        let value = builder.array(byte, key, value_size);
        Ok(Self { object: BtfObject::load(&builder.finish())?, key, value })
    }

    /// What [`crate::syscall::MapSpec::btf`] takes.
    pub fn for_map(&self) -> MapBtf<'_> {
        MapBtf { fd: self.object.as_fd(), key_type_id: self.key, value_type_id: self.value }
    }
}
