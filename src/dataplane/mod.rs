//! The two BPF programs and their maps, as data: nothing here talks to a kernel.
//!
//! [`build`] assembles the programs for a pairing method and a tier:
//!
//! - `sock_ops` sees connections become established, pairs the two ends, and puts them into the sockhash;
//! - `dispatcher` runs on every message of a socket in the sockhash and hands it to
//! - `sk_msg`, which redirects it when the gate is open;
//! - `opt_out`, where the policy asks for it, marks the sockets of cgroups that are to be left alone;
//! - `trusted` does so with those whose readers are trusted by name;
//! - `receives` and `splices`, where readers have to earn that trust, see how programs read;
//! - `drain` empties the sockhash at detach, one entry at a time, never one that still holds unread bytes;
//! - `tally` counts the bytes that open connections exchange by the stack, when they are asked for.
//!
//! The agent that loads them creates the maps of [`DataPlane::maps`] and resolves each [`asm::MapRef`] to its descriptor.
//!
//! # Terminology
//!
//! - **active**, **passive**: the end that called connect(2), the end that accept(2) returns.
//! - **rendezvous**: the map where the active end waits to be found by the passive one.
//! - **announced**: its listener has left an empty record when it answered the SYN, so that the active end knows that
//!   its peer is on this node, and in its cgroups, when it is established.
//! - **claimed**: found by its passive end. An active end that no passive end claims talks to another node.
//! - **gate**: the conditions under which no application sees a difference between a redirected message and one that came by the stack.
//! - **tier**: what the kernel and our capabilities let the programs see; see [`Tier`].

mod emit;
mod fingerprint;
mod gate;
mod kernel;
mod membership;
mod options;
mod pairing;
mod policy;
mod programs;
mod state;
#[cfg(feature = "bench")]
pub(crate) mod ungated;

use crate::asm::{self, Program};
use crate::uapi::ProgType;

pub(crate) use kernel::context;
pub use kernel::{
    AdoptionFields, BufferLocks, Casts, EpollFields, FIELDS, KernelField, KernelOffsets, MemberFields, MemoryLimit,
    OptionBits, TraceOffsets, objects,
};
pub use options::{
    Direction, Hooks, MAX_RULES, Network, Options, Pairing, Policy, PortRange, Probation, Readers, Servers, Streams,
    Tier, Trust, TrustBy, Watch,
};
pub use programs::adopt::{ADOPTION, LEVEL, NAME, adopt};
pub use programs::members::{CHOSEN, Member, MembersOver, members};
pub use programs::states::states;
pub use state::{
    AdoptionAnswer, AdoptionRequest, AdoptionStep, Change, ChangeKind, Config, Counter, JoiningSocket, LosingSocket,
    MapDef, MapKind, MapRole, Reader, ReaderEvent, ReaderEventKind, ReaderState, Refusal, SocketState, SocketTraffic,
    Standing, left_alone, sockhash_key,
};

/// The assembled programs and the maps they name.
#[derive(Debug)]
#[non_exhaustive]
pub struct DataPlane {
    /// What was assembled.
    pub options: Options,
    /// `BPF_PROG_TYPE_SOCK_OPS`, to attach to a cgroup as `BPF_CGROUP_SOCK_OPS`.
    pub sock_ops: Program,
    /// `BPF_PROG_TYPE_SK_MSG`, to put into [`MapRole::Programs`].
    pub sk_msg: Program,
    /// `BPF_PROG_TYPE_SK_MSG`, to attach to the sockhash as `BPF_SK_MSG_VERDICT`: tail-calls `sk_msg`.
    pub dispatcher: Program,
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_ITER` on `bpf_iter_sockmap`; gated tier only.
    pub drain: Option<Program>,
    /// `BPF_PROG_TYPE_SOCK_OPS`, to attach to each cgroup that opts out; only when the policy asks for it.
    pub opt_out: Option<Program>,
    /// The same for each cgroup whose readers are trusted by name.
    pub trusted: Option<Program>,
    /// `BPF_PROG_TYPE_TRACING`, to attach where [`Hooks`] says: sees data received. Only where readers are watched.
    pub receives: Option<Program>,
    /// The same: sees splice(2).
    pub splices: Option<Program>,
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_ITER` on `bpf_iter_bpf_sk_storage_map`, or on `bpf_iter_task_file` where there is
    /// [`KernelOffsets::sockets_by_file`]; gated tier only: counts the bytes of open connections.
    pub tally: Option<Program>,
    /// The maps, in the order of their [`asm::MapRef`] numbers.
    pub maps: Vec<MapDef>,
}

impl DataPlane {
    /// The programs that this variant has, with their names and types.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, ProgType, &Program)> {
        let all = [
            ("sock_ops", ProgType::SOCK_OPS, Some(&self.sock_ops)),
            ("sk_msg", ProgType::SK_MSG, Some(&self.sk_msg)),
            ("dispatcher", ProgType::SK_MSG, Some(&self.dispatcher)),
            ("drain", ProgType::TRACING, self.drain.as_ref()),
            ("opt_out", ProgType::SOCK_OPS, self.opt_out.as_ref()),
            ("trusted", ProgType::SOCK_OPS, self.trusted.as_ref()),
            ("receives", ProgType::TRACING, self.receives.as_ref()),
            ("splices", ProgType::TRACING, self.splices.as_ref()),
            ("tally", ProgType::TRACING, self.tally.as_ref()),
        ];
        all.into_iter().filter_map(|(name, prog_type, program)| Some((name, prog_type, program?)))
    }

    /// Gives the maps room for so many accelerated connections at once, instead of 32,768. Each has a socket at both ends,
    /// and its empty places take 48 bytes.
    #[must_use]
    pub fn sized_for(mut self, connections: u32) -> Self {
        for map in &mut self.maps {
            match map.role {
                MapRole::Sockets => map.max_entries = connections.saturating_mul(2),
                MapRole::Pairs => map.max_entries = connections,
                _ => {}
            }
        }
        self
    }
}

/// Licence string for the kernel: `bpf_probe_read_kernel` is for GPL-compatible programs only.
pub const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Assembles both programs. Fails only when the assembler finds a fault in our own code.
pub fn build(options: Options) -> Result<DataPlane, asm::Error> {
    Ok(DataPlane {
        sock_ops: programs::sock_ops::build(&options)?,
        sk_msg: programs::sk_msg::build(&options)?,
        dispatcher: programs::dispatcher::build()?,
        drain: match options.tier {
            Tier::Gated(offsets) => Some(programs::drain::build(&options, &offsets)?),
            Tier::Sticky => None,
        },
        tally: match options.tier {
            Tier::Gated(offsets) => Some(programs::tally::build(&options, &offsets)?),
            Tier::Sticky => None,
        },
        opt_out: options.policy.opt_out.then(programs::mark::opted_out).transpose()?,
        trusted: options.policy.trust.cgroups.then(programs::mark::trusted).transpose()?,
        receives: watched(&options, programs::receives::build)?,
        splices: watched(&options, programs::splices::build)?,
        maps: state::all_maps(&options),
        options,
    })
}

/// A program that watches readers, where they are watched.
fn watched(
    options: &Options,
    build: fn(&Options, &KernelOffsets, &Watch) -> Result<Program, asm::Error>,
) -> Result<Option<Program>, asm::Error> {
    match (&options.tier, options.watch()) {
        (Tier::Gated(offsets), Some(watch)) => build(options, offsets, watch).map(Some),
        _ => Ok(None),
    }
}
