//! The flags that choose the data plane, shared by the commands that build one.

use clap::{Args as _, Parser};

use super::error::Error;
use super::policy::PolicyArgs;
use super::streams::note;
use super::trust::TrustArgs;
use super::values::{number, one_of};
use crate::agent::{TierChoice, adoption_support, check, choose_tier};
use crate::dataplane::{self, Config, DataPlane, Options, Pairing, Policy, Readers, Streams};
use crate::syscall::cgroup::Cgroup;

const PAIRINGS: [(&str, Pairing); 2] =
    [(Pairing::Sequence.name(), Pairing::Sequence), (Pairing::FourTuple.name(), Pairing::FourTuple)];
pub(super) const READERS: [(&str, Readers); 2] =
    [(Readers::NonBlocking.name(), Readers::NonBlocking), (Readers::Any.name(), Readers::Any)];
/// [`Streams::Stay`] is for the benchmark: it never finds out whether it is worth it.
const STREAMS: [(&str, Streams); 2] = [(Streams::Leave.name(), Streams::Leave), (Streams::Auto.name(), Streams::Auto)];
const TIERS: [(&str, TierChoice); 3] =
    [("auto", TierChoice::Auto), ("gated", TierChoice::Gated), ("sticky", TierChoice::Sticky)];

/// `MAX_TCP_KEEPIDLE`, include/net/tcp.h.
const MAX_KEEPALIVE: u64 = 32_767;

/// Their empty places take 192 MiB: two buckets of the sockhash (`struct bpf_shtab_bucket`) and one of the pairs (`struct
/// bucket`) for each, of 16 bytes.
const MAX_CONNECTIONS: u64 = 1 << 22;

/// What the flags said; `None` where a flag was not given.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Data plane")]
pub(super) struct PlaneArgs {
    /// How the two ends of a connection find each other: by the handshake's sequence numbers (the default), or by their
    /// addresses (Linux 5.15)
    #[arg(long, value_name = "HOW", value_parser = one_of(PAIRINGS))]
    pairing: Option<Pairing>,
    /// Accelerate only pairs whose sockets are both O_NONBLOCK (the default), or all pairs. With `any`, a blocking recv
    /// on an accelerated socket returns EAGAIN after a signal, and MSG_WAITALL can return fewer bytes
    #[arg(long, value_name = "WHICH", value_parser = one_of(READERS))]
    readers: Option<Readers>,
    /// What the programs may see of the peer. `gated` needs CAP_PERFMON and the kernel's BTF; `auto` (the default) uses
    /// it where it is possible, and `sticky` elsewhere
    #[arg(long, value_name = "TIER", value_parser = one_of(TIERS))]
    tier: Option<TierChoice>,
    /// What becomes of a connection whose receiver is behind, as with a stream: it is plain TCP until it is calm again
    /// (`leave`, the default), or bursts of it go on past the stack as long as that is measured to be faster (`auto`, an
    /// experiment; Linux 6.1, and a kernel whose FIONREAD sees all bytes)
    #[arg(long, value_name = "WHAT", value_parser = one_of(STREAMS))]
    streams: Option<Streams>,
    /// Seconds of idleness after which an accelerated connection renews its connection-tracking entry by a TCP
    /// keepalive probe, unless the application has asked for its own; 0 means never. The default is a third of the
    /// entry's lifetime, at most 7200, and 0 where connections are not tracked
    #[arg(long, value_name = "S", value_parser = number::<u32, 0, MAX_KEEPALIVE>)]
    keepalive: Option<u32>,
    /// How many connections can be accelerated at once, 32768 by default; more stay plain TCP and are counted. 1,000
    /// empty places take 48 kB of memory
    #[arg(long, value_name = "N", value_parser = number::<u32, 1, MAX_CONNECTIONS>)]
    max_connections: Option<u32>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

impl PlaneArgs {
    /// The options for this kernel, of which the configuration knows more, and why the tier is not the best one.
    pub(super) fn options(&self, config: Config) -> Result<(Options, Option<String>), Error> {
        let (tier, why) = choose_tier(self.tier.unwrap_or_default())?;
        let readers = self.readers.unwrap_or(Readers::NonBlocking);
        let (trust, unseen) = self.trust.trust(&tier, readers, config.probation())?;
        let policy = Policy { trust, streams: self.streams.unwrap_or_default(), ..self.policy.policy()? };
        let mut options = Options { pairing: self.pairing.unwrap_or(Pairing::Sequence), tier, readers, policy };
        // What is left alone and lives longer has to be adopted.
        options.policy.spares_short = options.policy.trust.watch().is_some() && adoption_support(&options).is_none();
        let why = why.map(|why| format!("the sticky tier is used: {why}"));
        let leaving = streams_leave(&options, config).map(|why| format!("streams leave in spite of --streams: {why}"));
        Ok((options, [why, unseen, leaving].into_iter().flatten().reduce(|all, one| format!("{all}; {one}"))))
    }

    /// The options for this kernel. Standard error says so when the tier is not the best one.
    pub(super) fn noted_options(&self) -> Result<Options, Error> {
        let (options, why) = self.options(check::configuration()?)?;
        if let Some(why) = why {
            note(format_args!("sidestep: {why}"));
        }
        Ok(options)
    }

    /// The configuration with what the flags say of it.
    pub(super) fn configure(&self, config: Config) -> Config {
        Config { keepalive: self.keepalive.unwrap_or(config.keepalive), ..config }
    }

    /// Assembles these options, with maps of the size that the flags ask for.
    pub(super) fn build(&self, options: Options) -> crate::agent::Result<DataPlane> {
        let plane = dataplane::build(options)?;
        Ok(match self.max_connections {
            Some(connections) => plane.sized_for(connections),
            None => plane,
        })
    }

    /// What they say of the connections.
    pub(super) const fn policy(&self) -> &PolicyArgs {
        &self.policy
    }

    /// Whether pairs with blocking readers are accelerated, too.
    pub(super) fn takes_any_reader(&self) -> bool {
        self.readers == Some(Readers::Any)
    }

    /// The cgroups that have opted out.
    pub(super) fn opted_out(&self) -> Result<Vec<Cgroup>, Error> {
        self.policy.opted_out()
    }

    /// The cgroups whose readers are trusted by name.
    pub(super) fn trusted(&self) -> Result<Vec<Cgroup>, Error> {
        self.trust.cgroups()
    }

    /// The flags that were given, each `--name=value`, so that a later command can be given the same.
    pub(super) fn given(&self) -> Vec<String> {
        let tier = |tier| TIERS.iter().find(|(_, known)| *known == tier).map_or("auto", |(name, _)| name);
        let own = [
            self.pairing.map(|pairing| format!("--pairing={}", pairing.name())),
            self.readers.map(|readers| format!("--readers={}", readers.name())),
            self.tier.map(|choice| format!("--tier={}", tier(choice))),
            self.streams.map(|streams| format!("--streams={}", streams.name())),
            self.keepalive.map(|seconds| format!("--keepalive={seconds}")),
            self.max_connections.map(|connections| format!("--max-connections={connections}")),
        ];
        own.into_iter().flatten().chain(self.policy.given()).chain(self.trust.given()).collect()
    }

    /// Whether one of these flags has this long name.
    pub(super) fn has(name: &str) -> bool {
        let flags = Self::augment_args(clap::Command::new("plane"));
        flags.get_arguments().any(|flag| flag.get_long() == Some(name))
    }

    /// Fails where values that are right by themselves are too many.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.policy.policy()?;
        self.trust.check()
    }

    /// The same arguments again from what [`PlaneArgs::given`] has returned.
    pub(super) fn recall(given: &[String]) -> Result<Self, Error> {
        #[derive(Parser)]
        #[command(no_binary_name = true, args_override_self = true)]
        struct Given {
            #[command(flatten)]
            plane: PlaneArgs,
        }
        let parsed = Given::try_parse_from(given);
        parsed.map(|given| given.plane).map_err(|error| Error::Usage(super::usage::sentence(&error)))
    }
}

/// Why streams leave although they may stay by the flags.
fn streams_leave(options: &Options, config: Config) -> Option<&'static str> {
    if options.policy.streams == Streams::Leave {
        None
    } else if config.redirect_unaccepted {
        Some("on this kernel FIONREAD does not see all bytes (`fionread-stack` in `sidestep check`)")
    } else if options.readers == Readers::Any {
        Some("they can stay only with --readers nonblocking")
    } else if options.streams() == Streams::Leave {
        Some("it takes the gated tier and Linux 6.1")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_can_be_recalled() {
        let flags = [
            "--pairing=four-tuple",
            "--readers=any",
            "--tier=sticky",
            "--streams=auto",
            "--keepalive=7",
            "--max-connections=9",
            "--preset=istio-sidecar",
            "--preset=local",
            "--port=80,8000-8100",
            "--port=90",
            "--exclude-port=81",
            "--cidr=10.0.0.0/8",
            "--exclude-cidr=10.1.0.0/16,::1",
            "--direction=to-active",
            "--exclude-cgroup=/a b",
            "--trust=port:80-90",
            "--trust=program:nginx",
        ]
        .map(String::from);
        let plane = PlaneArgs::recall(&flags).unwrap();
        assert_eq!(plane.given(), flags);
        assert_eq!(plane.policy.policy().unwrap().ports.len(), 3);
        assert!(PlaneArgs::recall(&[]).unwrap().given().is_empty());
        assert!(PlaneArgs::recall(&["--future=1".into()]).unwrap_err().to_string().contains("--future"));
    }
}
