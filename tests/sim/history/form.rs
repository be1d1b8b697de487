//! The forms of our programs that histories run.

use sidestep::agent::{simulated_offsets, simulated_trace_offsets};
use sidestep::dataplane::{
    self, Casts, Config, DataPlane, Hooks, KernelOffsets, OptionBits, Options, Pairing, Policy, Probation, Readers,
    Tier, TrustBy, Watch,
};
use sidestep::verifier_sim::kernel::btf_id;

/// Bounds so small that histories run into them.
pub(crate) const CONFIG: Config = Config {
    enabled: true,
    max_messages: 3,
    max_bytes: 5000,
    sticky_bytes: 5000,
    redirect_unaccepted: false,
    spare_askers: false,
    stream_messages: 6,
    keepalive: 600,
    spare_armed: true,
};

/// Bits of options that keep the sender's and the receiver's bytes on the stack.
pub(crate) const OPTIONS: OptionBits = OptionBits { sender: 1 << 21, receiver: 1 << 2 | 1 << 11 };

/// What the programs can do. Each has all that its kernels offer: epoll's fields, memory groups, locks of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The gated tier that reads kernel memory by helper calls.
    Calls,
    /// The same where readers can be woken (Linux 6.1).
    Waking,
    /// The same with direct loads (Linux 6.2).
    Loads,
    /// The gated tier that serves readers which block, too, by helper calls.
    Any,
    /// The sticky tier.
    Sticky,
    /// As [`Form::Waking`], where readers have to earn trust.
    Watched,
}

impl Form {
    /// All but [`Form::Watched`], whose readers need longer histories.
    pub(crate) const ALL: [Self; 5] = [Self::Calls, Self::Waking, Self::Loads, Self::Any, Self::Sticky];

    /// What tests call them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Waking => "waking",
            Self::Loads => "loads",
            Self::Any => "any",
            Self::Sticky => "sticky",
            Self::Watched => "watched",
        }
    }

    /// Whether the programs see the peer.
    pub(crate) const fn is_gated(self) -> bool {
        !matches!(self, Self::Sticky)
    }

    /// Whether only sockets that do not block are served.
    pub(crate) const fn spares_blocking(self) -> bool {
        !matches!(self, Self::Any | Self::Sticky)
    }

    /// Whether a reader is notified again of stack bytes behind redirected ones.
    pub(crate) const fn wakes(self) -> bool {
        matches!(self, Self::Waking | Self::Loads | Self::Watched)
    }

    /// Whether readers have to earn trust.
    pub(crate) const fn watches(self) -> bool {
        matches!(self, Self::Watched)
    }

    /// The programs.
    pub(crate) fn plane(self, pairing: Pairing) -> DataPlane {
        let offsets = KernelOffsets {
            casts: (self == Self::Loads).then(|| Casts::resolve(btf_id).unwrap()),
            options: OPTIONS,
            iterators_have_storage: true,
            readers_can_be_woken: self.wakes(),
            ..simulated_offsets().unwrap()
        };
        let tier = if self.is_gated() { Tier::Gated(offsets) } else { Tier::Sticky };
        let readers = if self.spares_blocking() { Readers::NonBlocking } else { Readers::Any };
        let mut policy = Policy::default();
        if self.watches() {
            let hooks = Hooks::Functions { flags: 3, arguments: 5 };
            let offsets = simulated_trace_offsets().unwrap();
            policy.trust.by = TrustBy::Watching(Watch { hooks, offsets, probation: Probation::Inside });
        }
        dataplane::build(Options { pairing, tier, readers, policy }).unwrap()
    }
}
