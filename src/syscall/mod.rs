//! The kernel, as far as sidestep talks to it: bpf(2) and the few other raw calls around it.
//!
//! Everything goes through one seam (`sys`: one call, one conversion of errno) and through `libc` or `nix`; there is
//! no libbpf. Descriptors are owned ([`std::os::fd::OwnedFd`]) and lent ([`std::os::fd::BorrowedFd`]), so a map, a
//! program or a link goes away with the value that holds it, unless it is pinned. Specifications ([`MapSpec`],
//! [`ProgSpec`]) are plain data; the objects made of them ([`Map`], [`Program`], [`Link`]) need a kernel.
//!
//! This layer knows nothing of sidestep's own programs: instructions are bytes here.

mod attr;
pub mod bpffs;
pub mod btf;
pub mod caps;
pub mod cgroup;
mod errno;
mod error;
mod foreign_socket;
pub mod id;
mod link;
mod map;
pub mod memlock;
pub mod memory;
mod mountinfo;
pub mod netns;
mod pin;
mod priority;
mod process;
mod prog;
mod release;
mod ring;
pub mod seccomp;
mod sock_diag;
mod sys;
pub mod sysctl;
mod user;

pub use btf::BtfObject;
pub use errno::Errno;
pub use error::{Error, Operation, Result};
pub use foreign_socket::{Descriptors, ForeignSocket};
pub use link::{
    Attachments, IterReader, Link, LinkDetail, LinkInfo, LinkTarget, attachments, iter_reader, prog_attach,
    prog_detach, prog_query,
};
pub use map::{Keys, Map, MapBtf, MapFlags, MapInfo, MapSpec, UpdateFlags, possible_cpus};
pub use mountinfo::{Mount, mounts, parse_mountinfo};
pub use priority::run_first;
pub use process::ProcessHandle;
pub use prog::{DebugInfo, LoadedDebugInfo, ProgInfo, ProgSpec, Program, RunTimeStats};
pub use release::Release;
pub use ring::{RingBuffer, RingFollower};
pub use sock_diag::TcpSocketId;
pub use user::User;
