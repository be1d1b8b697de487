//! The two BPF programs and their maps, as data: nothing here talks to a kernel.
//!
//! [`build`] assembles the programs for a pairing method and a tier:
//!
//! - `sock_ops` sees connections become established, pairs the two ends, and puts them into the sockhash;
//! - `entry` runs on every message of a socket in the sockhash and hands it to
//! - `sk_msg`, which redirects it when the gate is open;
//! - `opt_out`, where the policy asks for it, marks the sockets of cgroups that are to be left alone;
//! - `drain` empties the sockhash at detach, one entry at a time, never one that still holds unread bytes.
//!
//! Whoever loads them creates the maps of [`DataPlane::maps`] and resolves each [`asm::MapRef`] to its descriptor.
//!
//! # Terminology
//!
//! - **active**, **passive**: the end that called connect(2), the end that accept(2) returns.
//! - **rendezvous**: the map where the active end waits to be found by the passive one.
//! - **announced**: its listener has left an empty record when it answered the SYN, so that the active end knows that
//!   its peer is on this node, and in scope, when it is established.
//! - **claimed**: found by its passive end. An active end that nobody claims talks to another node.
//! - **gate**: the conditions under which nobody can tell a redirected message from one that came by the stack.
//! - **tier**: what the kernel and our capabilities let the programs see; see [`Tier`].

mod callbacks;
mod config;
mod counters;
mod ctx;
mod drain;
mod emit;
mod ends;
mod entry;
mod fionread;
mod gate;
mod helper;
mod keepalive;
mod kernel;
mod layout;
mod leave;
mod linger;
mod maps;
mod nudge;
mod offsets;
mod pairing;
mod policy;
mod room;
mod sk_msg;
mod sock_ops;
mod storage;
mod watchers;

use std::fmt;

use crate::asm::{self, Features, Program};

pub use config::Config;
pub use counters::Counter;
pub use maps::{MapDef, MapKind, MapRole};
pub use offsets::{BufferLocks, Casts, EpollFields, FIELDS, Field, KernelOffsets, MemoryLimit, OptionBits};
pub use pairing::Pairing;
pub use policy::{Direction, MAX_RULES, Network, Policy, PortRange};

/// What the programs may see of the peer's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Peer state is read with fault-safe loads (`bpf_probe_read_kernel`, Linux 5.8, or [`Casts`]; CAP_PERFMON, not
    /// under lockdown=confidentiality) at offsets from the kernel's BTF: redirect and stack may alternate on one
    /// connection.
    Gated(KernelOffsets),
    /// No view of the peer: the first message that takes the stack keeps its direction there for good.
    Sticky,
}

impl Tier {
    /// The name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Gated(_) => "gated",
            Self::Sticky => "sticky",
        }
    }
}

/// Which sockets may be accelerated, by how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Only pairs whose two files are O_NONBLOCK. A blocking `recv` on a socket in a sockhash returns EAGAIN after a
    /// SA_RESTART signal, SIGSTOP or its own shutdown (`tcp_bpf_recvmsg`), and MSG_WAITALL comes back short.
    NonBlocking,
    /// All: those differences are then the user's choice. The first message of a direction that takes the stack keeps it
    /// there for good, and the pair leaves: a reader that sleeps on stack bytes in MSG_WAITALL is not woken by others.
    Any,
}

impl Readers {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NonBlocking => "nonblocking",
            Self::Any => "any",
        }
    }
}

/// What to assemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How the two ends of a connection find each other.
    pub pairing: Pairing,
    /// What the programs may see.
    pub tier: Tier,
    /// Whom they may serve. Needs [`Tier::Gated`] to tell; the sticky tier serves all.
    pub readers: Readers,
    /// Which connections may be accelerated.
    pub policy: Policy,
}

impl Options {
    /// Every variant without a policy, with these offsets for the gated tier. The sticky tier is there once for each
    /// pairing, since it serves all readers.
    pub fn all(offsets: KernelOffsets) -> Vec<Self> {
        let gated = Tier::Gated(offsets);
        let tiers = [(gated, Readers::NonBlocking), (gated, Readers::Any), (Tier::Sticky, Readers::Any)];
        let of = |pairing| tiers.map(|(tier, readers)| Self { pairing, tier, readers, policy: Policy::default() });
        [of(Pairing::Sequence), of(Pairing::FourTuple)].concat()
    }

    /// Offsets with which a listener can leave a record of every SYN that it answers: they are where its request keeps
    /// the initial sequence numbers. Without, an active end does not know at once whether its peer is on this node.
    fn announces(&self) -> Option<&KernelOffsets> {
        match (&self.tier, self.pairing) {
            (Tier::Gated(offsets), Pairing::Sequence) => Some(offsets),
            _ => None,
        }
    }

    /// Offsets with which a receiver can be told anew of the stack's bytes behind redirected ones.
    fn nudges(&self) -> Option<&KernelOffsets> {
        match &self.tier {
            Tier::Gated(offsets) if offsets.readers_can_be_told => Some(offsets),
            _ => None,
        }
    }

    /// Whether messages may be redirected after the soft switch, behind unread ones: where the drain cannot see a sender
    /// underway, nobody may be.
    fn lingers(&self) -> bool {
        matches!(&self.tier, Tier::Gated(offsets) if offsets.iterators_have_storage)
    }

    /// The parts of the instruction set the programs may use.
    fn features(&self) -> Features {
        match self.tier {
            Tier::Gated(KernelOffsets { casts: Some(_), .. }) => Features::LINUX_5_10 | Features::KFUNC,
            _ => Features::LINUX_5_10,
        }
    }
}

impl fmt::Display for Options {
    /// As the flags of the command line say it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}, readers {}", self.pairing.name(), self.tier.name(), self.readers.name())
    }
}

/// The assembled programs and the maps they name.
#[derive(Debug)]
pub struct DataPlane {
    /// What was assembled.
    pub options: Options,
    /// `BPF_PROG_TYPE_SOCK_OPS`, to attach to a cgroup as `BPF_CGROUP_SOCK_OPS`.
    pub sock_ops: Program,
    /// `BPF_PROG_TYPE_SK_MSG`, to put into [`MapRole::Verdict`].
    pub sk_msg: Program,
    /// `BPF_PROG_TYPE_SK_MSG`, to attach to the sockhash as `BPF_SK_MSG_VERDICT`: tail-calls the former.
    pub entry: Program,
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_ITER` on `bpf_iter_sockmap`; gated tier only.
    pub drain: Option<Program>,
    /// `BPF_PROG_TYPE_SOCK_OPS`, to attach to each cgroup that opts out; only when the policy asks for it.
    pub opt_out: Option<Program>,
    /// The maps, in the order of their [`asm::MapRef`] numbers.
    pub maps: Vec<MapDef>,
}

/// Licence string the kernel is told: `bpf_probe_read_kernel` is for GPL-compatible programs only.
pub const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Assembles both programs. Fails only when the assembler finds a fault in our own code.
pub fn build(options: Options) -> Result<DataPlane, asm::Error> {
    Ok(DataPlane {
        sock_ops: sock_ops::build(&options)?,
        sk_msg: sk_msg::build(&options)?,
        entry: entry::build()?,
        drain: match options.tier {
            Tier::Gated(offsets) => Some(drain::build(&options, &offsets)?),
            Tier::Sticky => None,
        },
        opt_out: options.policy.opt_out.then(policy::opt_out_program).transpose()?,
        maps: maps::all(&options),
        options,
    })
}
