//! The programs themselves: whether this kernel's verifier takes them. They are loaded, not attached.

use super::finding::{Answer, Finding, Need};
use crate::agent::adoption::{default_support, try_loading};
use crate::agent::{Error, Loaded, TierChoice, choose_tier, watch};
use crate::dataplane::{self, Config, Hooks, Options, Pairing, Policy, Readers, Tier, Trust, TrustBy};

/// One finding a variant of the data plane.
pub(super) fn all() -> Vec<Finding> {
    let gated = choose_tier(TierChoice::Gated).map(|(tier, _)| tier).map_err(|error| error.to_string());
    // One of the two tiers is enough.
    let [sticky_need, gated_need] =
        if gated.is_ok() { [Need::Optional, Need::Required] } else { [Need::Required, Need::Optional] };
    [
        (
            sticky_need,
            Pairing::Sequence,
            Ok(Tier::Sticky),
            "It is the fallback where programs may not read kernel memory (Linux 5.15).",
        ),
        (
            gated_need,
            Pairing::Sequence,
            gated.clone(),
            "It may alternate between redirection and stack; the sticky tier may not.",
        ),
        (Need::Optional, Pairing::FourTuple, gated, "It is the fallback where sequence numbers are rewritten."),
    ]
    .into_iter()
    .map(|(need, pairing, tier, why)| {
        let name = match &tier {
            Ok(Tier::Sticky) => format!("programs load: {} pairing, sticky tier", pairing.name()),
            _ => format!("programs load: {} pairing, gated tier", pairing.name()),
        };
        let answer = match tier {
            Ok(tier) => load(Options { pairing, tier, readers: readers(tier), policy: Policy::default() }),
            Err(why) => Answer::No(why),
        };
        Finding::new("programs", need, name, answer)
            .why(why)
            .remedy("add what is missing above; if nothing is, report this with the kernel's version")
    })
    .chain([watching(), adopting()])
    .collect()
}

/// Whether programs can be seen to read, and by what.
fn watching() -> Finding {
    let watched = super::configuration().and_then(|config| watch(config.probation()));
    let answer = match (choose_tier(TierChoice::Gated), watched) {
        (Ok((tier, _)), Ok(watch)) => {
            let trust = Trust { by: TrustBy::Watching(watch), ..Trust::default() };
            let policy = Policy { trust, ..Policy::default() };
            match load(Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy }) {
                Answer::Yes(_) => Answer::Yes(
                    match watch.hooks {
                        Hooks::Functions { .. } => "at functions that only accelerated sockets call",
                        Hooks::Mixed => "at a trace point, which costs each receive of the machine time",
                        Hooks::TracePoints => {
                            "at trace points, which cost each receive and system call of the machine time"
                        }
                    }
                    .into(),
                ),
                other => other,
            }
        }
        (Err(error), _) | (_, Err(error)) => Answer::No(error.to_string()),
    };
    Finding::new("programs", Need::Optional, "programs that read by splice(2) are recognised", answer)
        .why("Redirected bytes are lost to splice(2), so without this no program gets any by default.")
        .remedy("name what reads by recv(2) alone: --trust port:PORT, --trust cgroup:PATH, or --trust all")
}

/// Whether connections that exist already can be adopted.
fn adopting() -> Finding {
    let answer = match (default_support(), choose_tier(TierChoice::Gated)) {
        (Some(why), _) => Answer::No(why),
        (None, Ok((tier, _))) => {
            let options =
                Options { pairing: Pairing::Sequence, tier, readers: readers(tier), policy: Policy::default() };
            load_with(options.clone(), |loaded| try_loading(&options, loaded).map(|()| String::new()))
        }
        (None, Err(error)) => Answer::No(error.to_string()),
    };
    Finding::new("programs", Need::Optional, "connections made before an attach can be accelerated", answer)
        .why("Without this, they stay plain TCP until they are made again.")
        .remedy("start sidestep before the programs whose connections it is to accelerate, or restart them")
}

/// Only the gate can tell how a socket is read.
fn readers(tier: Tier) -> Readers {
    match tier {
        Tier::Gated(_) => Readers::NonBlocking,
        Tier::Sticky => Readers::Any,
    }
}

fn load(options: Options) -> Answer {
    load_with(options, |loaded| match (loaded.sock_ops.info(), loaded.sk_msg.info()) {
        (Ok(ops), Ok(msg)) => {
            Ok(format!("sock_ops {} and sk_msg {} bytes of machine code", ops.jited_len, msg.jited_len))
        }
        _ => Ok(String::new()),
    })
}

/// Loads the data plane, and what goes beside it.
fn load_with(options: Options, beside: impl FnOnce(&Loaded) -> Result<String, Error>) -> Answer {
    let plane = dataplane::build(options).map_err(Error::from);
    let loaded = plane.and_then(|plane| Loaded::new(&plane, Config::default()));
    match loaded.and_then(|loaded| beside(&loaded)) {
        Ok(text) => Answer::Yes(text),
        Err(error) => match (error.verifier_log(), &error) {
            (Some(_), _) => Answer::No(error.to_string()),
            (None, Error::Syscall(source) | Error::Context { source, .. }) => Answer::unknown(source),
            (None, _) => Answer::Unknown(error.to_string()),
        },
    }
}
