//! What to assemble: data only. What emits the programs by it lies in the other directories.

mod network;
mod policy;
mod port;
mod trust;

use std::fmt;

use crate::asm::Features;
use crate::dataplane::kernel::KernelOffsets;

pub use network::Network;
pub(in crate::dataplane) use network::mapped;
pub use policy::{Direction, MAX_RULES, Policy, Servers, Streams};
pub use port::PortRange;
pub use trust::{Hooks, Probation, Trust, TrustBy, Watch};

pub(in crate::dataplane) use policy::Side;
pub(in crate::dataplane) use trust::{CONNECTION_RECEIVES, PROGRAM_RECEIVES, STREAM_BYTES};

/// What the programs may see of the peer's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a program has one of it, and it is to be Copy")]
#[non_exhaustive]
pub enum Tier {
    /// Peer state is read with fault-safe loads (`bpf_probe_read_kernel`, Linux 5.8, or [`Casts`](crate::dataplane::Casts); CAP_PERFMON, not
    /// under lockdown=confidentiality) at offsets from the kernel's BTF: redirect and stack may alternate on one
    /// connection.
    Gated(KernelOffsets),
    /// No view of the peer: the first message that takes the stack keeps its direction there forever.
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
#[non_exhaustive]
pub enum Readers {
    /// Only pairs whose two files are O_NONBLOCK. A blocking `recv` on a socket in a sockhash returns EAGAIN after a
    /// SA_RESTART signal, SIGSTOP or its own shutdown (`tcp_bpf_recvmsg`), and MSG_WAITALL comes back short.
    NonBlocking,
    /// All: those differences are then the user's choice. The first message of a direction that takes the stack keeps it
    /// there forever, and the pair leaves: a reader that sleeps on stack bytes in MSG_WAITALL is not woken by others.
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
    /// Whom they may serve. Only [`Tier::Gated`] can see it; the sticky tier serves all.
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
    pub(in crate::dataplane) fn announces(&self) -> Option<&KernelOffsets> {
        match (&self.tier, self.pairing) {
            (Tier::Gated(offsets), Pairing::Sequence) => Some(offsets),
            _ => None,
        }
    }

    /// Offsets with which a receiver can be woken again for the stack's bytes behind redirected ones.
    pub(in crate::dataplane) fn wakes_readers(&self) -> Option<&KernelOffsets> {
        match &self.tier {
            Tier::Gated(offsets) if offsets.readers_can_be_woken => Some(offsets),
            _ => None,
        }
    }

    /// How readers are watched, where they have to earn their trust.
    pub(in crate::dataplane) fn watch(&self) -> Option<&Watch> {
        match (&self.tier, &self.policy.trust.by) {
            (Tier::Gated(_), TrustBy::Watching(watch)) => Some(watch),
            _ => None,
        }
    }

    /// Whether sockets enter the sockhash only when their readers have earned trust.
    pub(crate) fn joins_later(&self) -> bool {
        self.watch().is_some_and(|watch| watch.probation == Probation::Outside)
    }

    /// Whether connections are left alone whose listener has had only short ones.
    pub(in crate::dataplane) fn spares_short(&self) -> bool {
        self.policy.spares_short
            && self.watch().is_some()
            && self.announces().is_some()
            && self.readers == Readers::NonBlocking
    }

    /// Whether a pair may enter the sockhash when its connection exists already: so, or by adoption
    /// (`agent::adoption::support`).
    pub(in crate::dataplane) fn pairs_join_late(&self) -> bool {
        self.readers == Readers::NonBlocking && (self.pairing == Pairing::Sequence || self.joins_later())
    }

    /// What becomes of streams, where the programs offer a choice: pairs can only stay where they see how a reader waits for
    /// its events, and where FIONREAD shows all bytes.
    pub fn streams(&self) -> Streams {
        let can_stay = self.readers == Readers::NonBlocking
            && self.wakes_readers().is_some_and(|offsets| offsets.epoll.is_some() && offsets.buffer_locks.is_some())
            && !self.joins_later();
        if can_stay { self.policy.streams } else { Streams::Leave }
    }

    /// Whether only connections that are named are served.
    pub(in crate::dataplane) fn by_name_only(&self) -> bool {
        self.watch().is_none() && self.policy.trust.by != TrustBy::Default
    }

    /// Whether messages may be redirected after the soft switch, behind unread ones: where the drain cannot see a sender
    /// underway, no sender may be.
    pub(in crate::dataplane) fn defers(&self) -> bool {
        matches!(&self.tier, Tier::Gated(offsets) if offsets.iterators_have_storage)
    }

    /// Whether a message behind one that may be underway is redirected, too (`gate::underway`). A reader that sleeps in recv(2) looks
    /// like a thread that sends, and a drain that does not see who sends cannot answer for it.
    pub(in crate::dataplane) fn forces(&self) -> bool {
        self.defers() && self.readers == Readers::NonBlocking
    }

    /// The parts of the instruction set the programs may use.
    pub(in crate::dataplane) fn features(&self) -> Features {
        let Tier::Gated(offsets) = &self.tier else { return Features::LINUX_5_10 };
        let mut features = Features::LINUX_5_10;
        features.set(Features::KFUNC, offsets.casts.is_some());
        features.set(Features::ATOMIC_FETCH, offsets.weakly_ordered);
        features
    }
}

impl fmt::Display for Options {
    /// As the flags of the command line say it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}, readers {}", self.pairing.name(), self.tier.name(), self.readers.name())?;
        match self.policy.streams {
            Streams::Leave => Ok(()),
            streams => write!(out, ", streams {}", streams.name()),
        }
    }
}

/// How the two ends of a connection find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pairing {
    /// By the two initial sequence numbers, which NAT, REDIRECT, namespaces and address families leave alone.
    /// Sockhash keys are socket cookies.
    Sequence,
    /// By addresses: sockhash keys are {network namespace cookie, local, remote}, and REDIRECT is resolved by the
    /// client's address. A claim is confirmed by the sequence numbers, or by exact mirror addresses within one
    /// namespace where something rewrites the numbers. Needs `bpf_get_netns_cookie` (Linux 5.15).
    FourTuple,
}

impl Pairing {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::FourTuple => "four-tuple",
        }
    }
}
