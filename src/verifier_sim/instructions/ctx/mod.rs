//! Which fields of its context a program may read and write, and what a read yields.

mod sk_msg;
mod sock;
mod sock_ops;

pub(in crate::verifier_sim) use sock::{sock_readable, tcp_sock_readable};

use crate::verifier_sim::spec::{Kernel, ProgType};
use crate::verifier_sim::state::reg::{Flags, Kind};

/// What a permitted read of the context yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Field {
    /// A number.
    Scalar,
    /// A pointer.
    Pointer(Kind, Flags),
}

/// What a read of `size` bytes at `off` of the context yields, or `None` if it is not permitted.
pub(in crate::verifier_sim) fn read(prog: ProgType, kernel: Kernel, off: i32, size: u32) -> Option<Field> {
    let off = aligned(off, size)?;
    match prog {
        ProgType::SK_MSG => sk_msg::read(off, size),
        ProgType::SOCK_OPS => sock_ops::read(kernel, off, size),
        _ => None,
    }
}

/// Whether a write of `size` bytes at `off` of the context is permitted.
pub(in crate::verifier_sim) fn writable(prog: ProgType, off: i32, size: u32) -> bool {
    match (aligned(off, size), prog) {
        (Some(off), ProgType::SOCK_OPS) => sock_ops::writable(off, size),
        _ => false,
    }
}

/// `off` without sign, if it is a multiple of `size`.
fn aligned(off: i32, size: u32) -> Option<u32> {
    let off = u32::try_from(off).ok()?;
    (off % size == 0).then_some(off)
}

/// Whether `size` bytes of a field of `field` bytes may be read alone (`bpf_ctx_narrow_access_ok`).
fn narrow(size: u32, field: u32) -> bool {
    size <= field && size.is_power_of_two()
}
