//! Where connections that exist can be adopted.

use crate::agent::error::{Error, Result};
use crate::agent::kernel::{TierChoice, adoption_fields, choose_tier};
use crate::dataplane::{AdoptionFields, Options, Pairing, Policy, Readers, Tier};
use crate::syscall::Release;

/// The first kernel that lets a program ask for the callbacks of a socket outside a callback (`TCP_BPF_SOCK_OPS_CB_FLAGS` in
/// `bpf_sol_tcp_setsockopt`, net/core/filter.c). To try it takes a socket in a cgroup of ours, so the release has to do.
const FIRST: Release = Release(6, 12, 0);

/// Why not, where the kernel says so itself.
pub(super) const NO_CALLBACKS: &str =
    "it takes Linux 6.12 or later, which lets a program ask for the callbacks of a socket";

/// Why connections that exist cannot be adopted with these options on this kernel; nothing where they can.
pub fn adoption_support(options: &Options) -> Option<String> {
    if options.pairing != Pairing::Sequence {
        return Some("it takes pairing by sequence numbers".into());
    }
    let Tier::Gated(offsets) = &options.tier else {
        return Some("the sticky tier cannot prove that two sockets are the ends of one connection".into());
    };
    if !offsets.readers_can_be_woken || Release::running().is_none_or(|release| release < FIRST) {
        return Some(NO_CALLBACKS.into());
    }
    match adoption_fields() {
        Ok(Some(_)) => None,
        Ok(None) => Some("the kernel does not keep the mark of a received packet (CONFIG_RPS)".into()),
        Err(error) => Some(error.to_string()),
    }
}

/// Why connections that exist cannot be adopted by default here; nothing where they can.
pub(in crate::agent) fn default_support() -> Option<String> {
    match choose_tier(TierChoice::Auto) {
        Ok((tier, _)) => adoption_support(&Options {
            pairing: Pairing::Sequence,
            tier,
            readers: Readers::NonBlocking,
            policy: Policy::default(),
        }),
        Err(error) => Some(error.to_string()),
    }
}

/// What the program reads, or why it cannot be.
pub(super) fn fields(options: &Options) -> Result<AdoptionFields> {
    match adoption_support(options) {
        Some(why) => Err(refused(&why)),
        None => adoption_fields()?.ok_or_else(|| refused(NO_CALLBACKS)),
    }
}

pub(super) fn refused(why: &str) -> Error {
    Error::Unsupported {
        what: "connections made before stay plain TCP",
        why: why.into(),
        remedy: "nothing is to be done for later ones; --existing off hides this note",
    }
}
