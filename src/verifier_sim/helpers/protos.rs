//! How the program at hand may call a helper: the signature of the ABI, with what depends on program type and release.

use super::Proto;
use crate::uapi::helper::{Arg, Helper, Properties, id};
use crate::verifier_sim::spec::{Kernel, ProgType};

/// The signature of helper `number`, if a SK_MSG or SOCK_OPS program can ever call it.
pub(in crate::verifier_sim) fn proto(number: i32, prog: ProgType, kernel: Kernel) -> Option<Proto> {
    let proto = Helper::from_id(number)?.proto?;
    let args = match number {
        // Until 6.18 SK_MSG programs had bpf_get_cgroup_classid_proto of skb programs, which takes the context.
        id::GET_CGROUP_CLASSID if prog == ProgType::SK_MSG && kernel < Kernel::V6_18 => &[Arg::Ctx],
        _ => proto.args,
    };
    // Tail calls move the packet since 6.13, and in later stable releases of older ones.
    let moves = number == id::TAIL_CALL && kernel >= Kernel::V6_12;
    Some(Proto {
        args,
        ret: proto.ret,
        properties: proto.properties | if moves { Properties::MOVES_PACKET } else { Properties::empty() },
    })
}

/// Whether programs of type `prog` may call helper `number`.
pub(in crate::verifier_sim) fn available(number: i32, prog: ProgType, kernel: Kernel) -> bool {
    Helper::from_id(number).is_some_and(|helper| helper.is_available(prog, kernel))
}
