//! The helpers: number, name, signature, and which program types may call them since which release.

mod availability;
mod kind;
mod table;

use bitflags::bitflags;

use super::{AttachType, Kernel, ProgType};

pub use kind::{Arg, DynptrKind, Object, Ret};
pub use table::id;

/// One helper.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Its number in `enum bpf_func_id`.
    pub id: i32,
    /// Its name without the prefix `bpf_`.
    pub name: &'static str,
    /// How it is called; known for every one that a SK_MSG or SOCK_OPS program may call, and for many others.
    pub proto: Option<Proto>,
    /// The first release in which a SK_MSG program may call it.
    sk_msg: Option<Kernel>,
    /// The first release in which a SOCK_OPS program may call it.
    sock_ops: Option<Kernel>,
}

/// How a helper is called (`struct bpf_func_proto`).
#[derive(Clone, Copy, Debug)]
pub struct Proto {
    /// Arguments in r1 to r5.
    pub args: &'static [Arg],
    /// Result in r0.
    pub ret: Ret,
    /// What else it does.
    pub properties: Properties,
}

bitflags! {
    /// Properties of a helper that its arguments do not tell.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Properties: u8 {
        /// Arguments may point into the packet (`pkt_access`).
        const PACKET = 1 << 0;
        /// Packet pointers are stale afterwards (`bpf_helper_changes_pkt_data`).
        const MOVES_PACKET = 1 << 1;
        /// Only for programs that may sleep (`might_sleep`).
        const SLEEPS = 1 << 2;
    }
}

/// The prefix of every helper's name.
const PREFIX: &str = "bpf_";

impl Helper {
    /// All helpers, in the order of their numbers.
    pub fn all() -> &'static [Self] {
        table::HELPERS
    }

    /// The helper with this number.
    pub fn from_id(id: i32) -> Option<&'static Self> {
        table::HELPERS.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// Whether programs of type `prog`, to be attached as `attach` says, may call it on this release.
    pub fn is_available(&self, prog: ProgType, attach: AttachType, kernel: Kernel) -> bool {
        let since = match prog {
            ProgType::SK_MSG => self.sk_msg,
            ProgType::SOCK_OPS => self.sock_ops,
            _ => return availability::permits(prog, attach, kernel, self.id),
        };
        since.is_some_and(|since| since <= kernel)
    }
}

/// The name of a number without the prefix `bpf_`. 0 has one, too: the kernel prints it although it is not a helper.
pub fn short_name(id: i32) -> Option<&'static str> {
    if id == 0 { Some("unspec") } else { Helper::from_id(id).map(|helper| helper.name) }
}

/// The name of a helper, for example `bpf_map_lookup_elem` for 1.
pub fn helper_name(id: i32) -> Option<String> {
    Helper::from_id(id).map(|helper| format!("{PREFIX}{}", helper.name))
}

/// The number of a helper, for example 1 for `bpf_map_lookup_elem`.
pub fn helper_id(name: &str) -> Option<i32> {
    let short = name.strip_prefix(PREFIX)?;
    table::HELPERS.iter().find(|helper| helper.name == short).map(|helper| helper.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that the kernel's header gives for a few helpers over the whole range.
    #[test]
    fn numbers_match_the_header() {
        for (id, name) in [
            (1, "bpf_map_lookup_elem"),
            (46, "bpf_get_socket_cookie"),
            (70, "bpf_sock_hash_update"),
            (71, "bpf_msg_redirect_hash"),
            (107, "bpf_sk_storage_get"),
            (113, "bpf_probe_read_kernel"),
            (122, "bpf_get_netns_cookie"),
            (211, "bpf_cgrp_storage_delete"),
        ] {
            assert_eq!(helper_name(id).as_deref(), Some(name));
            assert_eq!(helper_id(name), Some(id));
        }
        assert_eq!((helper_name(0), helper_name(212), helper_name(-1)), (None, None, None));
        assert_eq!((helper_id("bpf_unspec"), helper_id("map_lookup_elem")), (None, None));
    }

    #[test]
    fn rows_are_in_order_and_constants_bear_the_names() {
        assert_eq!(Helper::all().len(), 211);
        assert!(Helper::all().iter().zip(1..).all(|(helper, id)| helper.id == id));
        assert_eq!((id::MAP_LOOKUP_ELEM, id::SK_STORAGE_GET, id::CGRP_STORAGE_DELETE), (1, 107, 211));
    }

    #[test]
    fn who_may_call_has_a_signature() {
        for helper in Helper::all() {
            let callable = helper.sk_msg.is_some() || helper.sock_ops.is_some();
            assert!(!callable || helper.proto.is_some(), "{}", helper.name);
        }
    }

    #[test]
    fn availability_grows_with_the_release() {
        let helper = Helper::from_id(id::GET_NETNS_COOKIE).unwrap();
        let any = AttachType(0);
        assert!(!helper.is_available(ProgType::SOCK_OPS, any, Kernel::V5_10));
        assert!(helper.is_available(ProgType::SOCK_OPS, any, Kernel::V6_1));
        assert!(!helper.is_available(ProgType::XDP, any, Kernel::V6_12));
        let write = Helper::from_id(id::SEQ_WRITE).unwrap();
        assert!(write.is_available(ProgType::TRACING, AttachType::TRACE_ITER, Kernel::V5_10));
        assert!(!write.is_available(ProgType::TRACING, AttachType::TRACE_RAW_TP, Kernel::V6_18));
    }
}
