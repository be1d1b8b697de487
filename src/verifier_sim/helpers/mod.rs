//! The helpers: what each takes and returns, and which program types may call it on which kernel.

pub(super) mod args;
pub(super) mod call;
pub(super) mod dynptr;
pub(super) mod format;
pub(super) mod map_compat;
pub(super) mod mem;
mod protos;

pub(in crate::verifier_sim) use crate::uapi::helper::{Arg, Proto, Ret};
pub(in crate::verifier_sim) use protos::{available, moves_packet, needs_perfmon, proto};

use crate::uapi::helper::short_name;

/// Helper `number` as the kernel's messages name it.
pub(in crate::verifier_sim) fn name(number: i32) -> String {
    match short_name(number).filter(|_| exists(number)) {
        Some(name) => format!("bpf_{name}"),
        None => "unknown".to_owned(),
    }
}

/// Whether the newest kernels know helper `number` at all: 211 is the last, kfuncs took over.
pub(in crate::verifier_sim) fn exists(number: i32) -> bool {
    (0..=211).contains(&number)
}
