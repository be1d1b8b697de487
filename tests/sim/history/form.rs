//! The forms of our programs that histories run.

use sidestep::agent::{simulated_offsets, simulated_trace_offsets};
use sidestep::asm::Field;
use sidestep::dataplane::{
    self, Casts, Config, DataPlane, Hooks, KernelOffsets, MembersOver, OptionBits, Options, Pairing, Policy, Probation,
    Readers, Streams, Tier, TrustBy, Watch,
};
use sidestep::verifier_sim::interp::Program;
use sidestep::verifier_sim::kernel::{Over, ReceiveHook, SpliceHook, Tracing, btf_id, offset_of};

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
    pace_nanos: 400,
    pace_work: 9000,
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
    /// The same with direct loads (Linux 6.2), and iterators that find sockets by their files (7.0).
    Loads,
    /// As [`Form::Waking`], where streams stay while they are measured to be faster so.
    Paced,
    /// The gated tier that serves readers which block, too, by helper calls.
    Any,
    /// The sticky tier.
    Sticky,
    /// As [`Form::Waking`], where readers have to earn trust, and with cgroups that opt out or are trusted.
    Watched,
    /// The same by trace points.
    Traced,
    /// As [`Form::Traced`], where sockets join the sockhash when their readers have earned it.
    Joining,
    /// The same, and splice(2) is seen at a function.
    Mixed,
    /// As [`Form::Waking`], where only cgroups that are trusted are served.
    Named,
}

impl Form {
    /// Those in which every reader is served.
    pub(crate) const ALL: [Self; 5] = [Self::Calls, Self::Waking, Self::Loads, Self::Any, Self::Sticky];

    /// Those whose readers have to earn trust, and need longer histories.
    pub(crate) const WATCHED: [Self; 4] = [Self::Watched, Self::Traced, Self::Joining, Self::Mixed];

    /// Those that adopt connections which exist already.
    pub(crate) const ADOPTING: [Self; 7] =
        [Self::Waking, Self::Loads, Self::Paced, Self::Watched, Self::Traced, Self::Joining, Self::Mixed];

    /// What tests call them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Waking => "waking",
            Self::Loads => "loads",
            Self::Paced => "paced",
            Self::Any => "any",
            Self::Sticky => "sticky",
            Self::Watched => "watched",
            Self::Traced => "traced",
            Self::Joining => "joining",
            Self::Mixed => "mixed",
            Self::Named => "named",
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
        !matches!(self, Self::Calls | Self::Any | Self::Sticky)
    }

    /// Whether streams stay, and are measured.
    pub(crate) const fn measures(self) -> bool {
        matches!(self, Self::Paced)
    }

    /// Whether readers have to earn trust.
    pub(crate) fn watches(self) -> bool {
        Self::WATCHED.contains(&self)
    }

    /// Whether every receive is seen, not only those of members.
    pub(crate) const fn sees_all_receives(self) -> bool {
        matches!(self, Self::Traced | Self::Joining | Self::Mixed)
    }

    /// Whether sockets join the sockhash when their readers have earned trust.
    pub(crate) const fn joins_later(self) -> bool {
        matches!(self, Self::Joining | Self::Mixed)
    }

    /// Whether connections are left alone whose listener has had only short ones.
    pub(crate) const fn spares_short(self) -> bool {
        matches!(self, Self::Watched | Self::Joining)
    }

    /// Whether only cgroups that are trusted are served.
    pub(crate) const fn serves_named(self) -> bool {
        matches!(self, Self::Named)
    }

    /// Whether connections that exist can be adopted (`agent::adoption::support`).
    pub(crate) fn adopts(self, pairing: Pairing) -> bool {
        pairing == Pairing::Sequence && self.wakes()
    }

    /// Whether cgroups can opt out, or be trusted.
    pub(crate) fn has_policy(self) -> bool {
        self.watches() || self.serves_named()
    }

    /// What the iterators over sockets that have storage look at.
    pub(crate) const fn over(self) -> Over {
        if matches!(self, Self::Loads) { Over::Files } else { Over::Storages }
    }

    /// What those look at that list and mark sockets; [`Form::Calls`] does as where the sockhash's iterator has no storage.
    pub(crate) fn lists(self) -> Vec<(MembersOver, Over)> {
        let storages = (MembersOver::Storages, self.over());
        match self {
            Self::Sticky => Vec::new(),
            Self::Calls | Self::Loads => vec![storages],
            _ if self.joins_later() => vec![(MembersOver::Sockhash, Over::Sockhash), storages],
            _ => vec![(MembersOver::Sockhash, Over::Sockhash)],
        }
    }

    /// Where the programs look that watch readers.
    fn hooks(self) -> (ReceiveHook, SpliceHook, Hooks) {
        let functions = Hooks::Functions { flags: 3, arguments: 5 };
        match self {
            Self::Mixed => (ReceiveHook::TracePoint, SpliceHook::Function, Hooks::Mixed),
            Self::Traced | Self::Joining => (ReceiveHook::TracePoint, SpliceHook::TracePoint, Hooks::TracePoints),
            _ => (ReceiveHook::Function, SpliceHook::Function, functions),
        }
    }

    /// The programs that watch readers, as they are attached.
    pub(crate) fn watching(self, receives: Option<Program>, splices: Option<Program>) -> Tracing {
        let (at_receive, at_splice, _) = self.hooks();
        Tracing {
            receives: receives.map(|program| (program, at_receive)),
            splices: splices.map(|program| (program, at_splice)),
            ..Tracing::default()
        }
    }

    /// Where the programs find what they read.
    pub(crate) fn offsets(self) -> KernelOffsets {
        let of_socket = KernelOffsets::SOCK_OF_SOCKET;
        let by_file = || Field::new(offset_of(of_socket.structure, of_socket.path).unwrap().into());
        KernelOffsets {
            casts: (self == Self::Loads).then(|| Casts::resolve(btf_id).unwrap()),
            options: OPTIONS,
            iterators_have_storage: true,
            sockets_by_file: (self.over() == Over::Files).then(by_file),
            readers_can_be_woken: self.wakes(),
            ..simulated_offsets().unwrap()
        }
    }

    /// The programs.
    pub(crate) fn plane(self, pairing: Pairing) -> DataPlane {
        let tier = if self.is_gated() { Tier::Gated(self.offsets()) } else { Tier::Sticky };
        let readers = if self.spares_blocking() { Readers::NonBlocking } else { Readers::Any };
        let streams = if self.measures() { Streams::Auto } else { Streams::Leave };
        let mut policy = Policy { streams, ..Policy::default() };
        if self.watches() {
            let offsets = simulated_trace_offsets().unwrap();
            let probation = if self.joins_later() { Probation::Outside } else { Probation::Inside };
            policy.trust.by = TrustBy::Watching(Watch { hooks: self.hooks().2, offsets, probation });
            policy.spares_short = self.spares_short();
        } else if self.serves_named() {
            policy.trust.by = TrustBy::Name;
        }
        (policy.opt_out, policy.trust.cgroups) = (self.has_policy(), self.has_policy());
        dataplane::build(Options { pairing, tier, readers, policy }).unwrap()
    }
}
