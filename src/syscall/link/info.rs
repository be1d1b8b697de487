//! What the kernel says of a link.

use std::os::fd::BorrowedFd;

use crate::syscall::error::Result;
use crate::syscall::map::info::fill;
use crate::uapi::AttachType;

/// `struct bpf_link_info`: the head, and the union as plain words (it starts at offset 16).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Raw {
    r#type: u32,
    id: u32,
    prog_id: u32,
    _pad: u32,
    detail: [u32; 8],
}

/// `enum bpf_link_type` of `include/uapi/linux/bpf.h`.
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_ITER: u32 = 4;
const BPF_LINK_TYPE_SOCKMAP: u32 = 14;

/// Facts of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The kernel's number for it.
    pub id: u32,
    /// The program it holds.
    pub prog_id: u32,
    /// What it is attached to.
    pub detail: LinkDetail,
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkDetail {
    /// A cgroup; the id is 0 when the cgroup is gone or the link was detached.
    Cgroup {
        /// The cgroup's inode number.
        cgroup_id: u64,
        /// As what.
        attach_type: AttachType,
    },
    /// A socket map; the id is 0 when the link was detached.
    Sockmap {
        /// The map's number.
        map_id: u32,
        /// As what.
        attach_type: AttachType,
    },
    /// An iterator over a map (0 when over something else).
    Iter {
        /// The map's number.
        map_id: u32,
    },
    /// Another kind, by the kernel's number.
    Other(u32),
}

pub(super) fn of(fd: BorrowedFd<'_>) -> Result<LinkInfo> {
    let mut raw = [Raw::default()];
    fill(fd, &mut raw, "the link")?;
    let [raw] = raw;
    Ok(LinkInfo { id: raw.id, prog_id: raw.prog_id, detail: detail(&raw) })
}

fn detail(raw: &Raw) -> LinkDetail {
    let words = raw.detail;
    match raw.r#type {
        BPF_LINK_TYPE_CGROUP => {
            let [a, b, c, d, e, f, g, h] =
                [0, 1, 2, 3, 4, 5, 6, 7].map(|index: usize| words[index / 4].to_ne_bytes()[index % 4]);
            LinkDetail::Cgroup {
                cgroup_id: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                attach_type: AttachType(words[2]),
            }
        }
        BPF_LINK_TYPE_SOCKMAP => LinkDetail::Sockmap { map_id: words[0], attach_type: AttachType(words[1]) },
        // After the address (8 bytes) and length (4) of the name.
        BPF_LINK_TYPE_ITER => LinkDetail::Iter { map_id: words[3] },
        other => LinkDetail::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_id_is_one_64_bit_number() {
        let id = 0x1122_3344_5566_7788_u64;
        let bytes = id.to_ne_bytes();
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let raw = Raw { r#type: 3, detail: [word(0), word(4), 3, 0, 0, 0, 0, 0], ..Raw::default() };
        assert_eq!(detail(&raw), LinkDetail::Cgroup { cgroup_id: id, attach_type: AttachType::CGROUP_SOCK_OPS });
    }
}
