//! What the kernel says of a map.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::MapFlags;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::{attr, sys};
use crate::uapi::MapType;

/// `struct bpf_map_info`, the fields up to 5.10's end.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Raw {
    r#type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; attr::OBJ_NAME_LEN],
    ifindex: u32,
    btf_vmlinux_value_type_id: u32,
    netns_dev: u64,
    netns_ino: u64,
    btf_id: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    _pad: u32,
}
// Offset of `btf_vmlinux_id` (called padding before 6.16) plus its size.
const _: () = assert!(size_of::<Raw>() == 80);

/// Facts of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// The kernel's number for it; never used twice until it wraps.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The kind of map.
    pub map_type: MapType,
    /// Bytes in a key.
    pub key_size: u32,
    /// Bytes in a value.
    pub value_size: u32,
    /// The most entries it can hold.
    pub max_entries: u32,
    /// Flags.
    pub flags: MapFlags,
    /// Its BTF object's number, or 0.
    pub btf_id: u32,
}

/// Asks for the facts of the map behind `fd`.
pub(super) fn of(fd: BorrowedFd<'_>) -> Result<MapInfo> {
    let mut raw = [Raw::default()];
    fill(fd, &mut raw, "the map")?;
    let [raw] = raw;
    Ok(MapInfo {
        id: raw.id,
        name: name(&raw.name),
        map_type: MapType(raw.r#type),
        key_size: raw.key_size,
        value_size: raw.value_size,
        max_entries: raw.max_entries,
        flags: MapFlags::from_bits_retain(raw.map_flags),
        btf_id: raw.btf_id,
    })
}

/// Fills the one record of `raw` by BPF_OBJ_GET_INFO_BY_FD. `T` is a `repr(C)` prefix of the object's info struct, for
/// which any bytes are a value.
pub(in crate::syscall) fn fill<T: Copy>(fd: BorrowedFd<'_>, raw: &mut [T; 1], object: &str) -> Result<()> {
    let mut attr =
        attr::Info { bpf_fd: fd.as_raw_fd() as u32, info_len: size_of::<T>() as u32, info: sys::address_mut(raw) };
    // SAFETY: `info` is the address of `raw`, live and writable for `info_len` bytes.
    unsafe { sys::bpf(sys::Command::ObjGetInfoByFd, &mut attr) }
        .map_err(|errno| Error::call(Operation::Info, object, errno))?;
    Ok(())
}

/// The text of a name field: up to the first zero.
pub(in crate::syscall) fn name(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The name field of `text`, or an error when the kernel would refuse it.
pub(in crate::syscall) fn name_field(text: &str) -> Result<[u8; attr::OBJ_NAME_LEN]> {
    let bytes = text.as_bytes();
    // bpf_obj_name_cpy of kernel/bpf/syscall.c: alphanumeric, '_' and '.', with a closing zero.
    if bytes.len() >= attr::OBJ_NAME_LEN || !bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
    {
        return Err(Error::Invalid(format!(
            "{text:?} cannot name a BPF object; use at most 15 letters, digits, underscores and dots"
        )));
    }
    let mut field = [0; attr::OBJ_NAME_LEN];
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_field_and_bad_ones_are_refused() {
        assert_eq!(name(&name_field("sidestep.sock_1").unwrap()), "sidestep.sock_1");
        assert_eq!(name(&[b'x'; 16]), "xxxxxxxxxxxxxxxx");
        for bad in ["sixteen_letters_", "a-b", "ä", "a b"] {
            assert!(name_field(bad).unwrap_err().to_string().contains("at most 15"), "{bad}");
        }
    }
}
