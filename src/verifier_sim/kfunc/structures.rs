//! Pointers to the kernel's structures that kernel functions take (`process_kf_arg_ptr_to_btf_id`).

use crate::verifier_sim::state::reg::{Kind, Reg};
use crate::verifier_sim::types::{KernelTypes, ProgramTypes, own_id, structure_id};

/// The structure behind a pointer that has a kind of its own (`reg2btf_ids`).
pub(super) fn behind(reg: &Reg) -> Option<&'static str> {
    Some(match reg.kind {
        Kind::Socket => "sock",
        Kind::SockCommon => "sock_common",
        Kind::TcpSock => "tcp_sock",
        Kind::ConstMapPtr => "bpf_map",
        _ => return None,
    })
}

/// Whether programs see `structure` as `shown` (`btf_is_projection_of`).
pub(super) fn is_projection_of(shown: &[u8], structure: &[u8]) -> bool {
    matches!((shown, structure), (b"__sk_buff", b"sk_buff") | (b"xdp_md", b"xdp_buff"))
}

/// The end of the name of a structure that is like another one, but not the same (`btf_type_ids_nocast_alias`).
const ALIAS: &[u8] = b"___init";

fn id(types: &KernelTypes, reg: &Reg) -> Option<u32> {
    match behind(reg) {
        Some(name) => types.named(name.as_bytes()),
        None => structure_id(types, reg.arg),
    }
}

/// Whether the pointer will do where one to structure `wanted` is expected; `strict` if not to one that begins with it.
pub(super) fn matches(types: &KernelTypes, reg: &Reg, wanted: u32, strict: bool) -> bool {
    let Some(given) = id(types, reg) else { return false };
    let (given_name, wanted_name) = (types.name(given), types.name(wanted));
    let aliases =
        given_name.strip_suffix(ALIAS) == Some(wanted_name) || wanted_name.strip_suffix(ALIAS) == Some(given_name);
    let same = match u32::try_from(reg.off) {
        Ok(0) if given == wanted => true,
        Ok(off) => !strict && !aliases && types.contains(given, off, wanted),
        Err(_) => false,
    };
    same || is_projection_of(wanted_name, given_name)
}

/// The structure, as the kernel names it.
pub(super) fn describe(types: &KernelTypes, own: Option<&ProgramTypes>, reg: &Reg) -> String {
    if let (Kind::BtfId, Some(id), Some(own)) = (reg.kind, own_id(reg.arg), own) {
        return own.types().describe(id);
    }
    id(types, reg).map_or_else(String::new, |id| types.describe(id))
}
