//! The settings of a running agent, and how they change while it runs.
//!
//! What the data plane does changes as `sidestep upgrade` changes it. What is wrong with the new settings is found before
//! anything is touched.

use std::time::Duration;

use super::Args;
use super::held::Held;
use super::pods::Pods;
use super::refuse_sticky;
use crate::agent::lifecycle::{Instance, Outcome, ReloadBoard};
use crate::cli::error::Error;
use crate::cli::log::Log;
use crate::cli::streams::note;
use crate::cli::target::configuration;
use crate::cli::upgrade;
use crate::dataplane::{Member, Policy};

/// Reads the settings as they are now.
pub(super) type Again<'a> = &'a dyn Fn() -> Result<Args, Error>;

/// What runs, and with which settings.
pub(super) struct Live<'a> {
    pub(super) args: Args,
    again: Again<'a>,
    pub(super) held: Held,
    /// Where it answers `sidestep reload`.
    board: Option<ReloadBoard>,
    /// Where pods are named.
    pub(super) pods: Option<Pods>,
}

impl<'a> Live<'a> {
    pub(super) fn new(args: Args, again: Again<'a>, held: Held, pods: Option<Pods>) -> Self {
        Self { args, again, held, board: None, pods }
    }

    /// Adds the pods that were read at the start.
    pub(super) fn add_pods(&mut self, log: &mut Log<'_>) -> Result<bool, Error> {
        let drain = self.args.target.drain();
        self.pods.as_mut().map_or(Ok(false), |pods| pods.apply(&mut self.held, drain, log))
    }

    /// Adds pods that have come, and takes out those that have gone. Returns whether one was added.
    pub(super) fn follow_pods(&mut self, log: &mut Log<'_>) -> Result<bool, Error> {
        let drain = self.args.target.drain();
        self.pods.as_mut().map_or(Ok(false), |pods| pods.follow(&mut self.held, drain, log))
    }

    /// From now on `sidestep reload` works, where there are settings that can be read again.
    pub(super) fn offer_reload(&mut self) -> Result<(), Error> {
        if let (true, Held::Pinned(_, owner, _)) = (self.reads_settings_again(), &self.held) {
            self.board = Some(owner.offer_reload()?);
        }
        Ok(())
    }

    /// Whether SIGHUP reads the settings again; otherwise it ends the command.
    pub(super) fn reads_settings_again(&self) -> bool {
        self.args.config.is_some()
    }

    /// Between two lines of counters.
    pub(super) fn interval(&self) -> Option<Duration> {
        (self.args.interval > 0).then(|| Duration::from_secs(self.args.interval.into()))
    }

    /// Reads the settings again, and applies them. Returns what has come of it; only an error of the output is an error.
    pub(super) fn reload(&mut self, log: &mut Log<'_>) -> Result<String, Error> {
        self.update_board(ReloadBoard::begin);
        let outcome = self.apply();
        if outcome.is_ok()
            && let Some(pods) = &mut self.pods
        {
            pods.apply(&mut self.held, self.args.target.drain(), log)?;
        }
        let (event, text) = match &outcome {
            Ok(done) => ("reloaded", format!("settings read again: {done}")),
            Err(error) => ("reload_failed", format!("the settings stay as they were: {error}")),
        };
        log.say(event, &text)?;
        log.out.flush()?;
        if outcome.is_err() {
            note(format_args!("sidestep: {text}"));
        }
        self.update_board(|board| board.end(if outcome.is_ok() { Ok(&text) } else { Err(&text) }));
        Ok(text)
    }

    /// An agent that cannot answer does its work all the same.
    fn update_board(&mut self, what: impl FnOnce(&mut ReloadBoard) -> crate::agent::Result<()>) {
        if let Some(Err(error)) = self.board.as_mut().map(what) {
            note(format_args!("sidestep: {error}"));
        }
    }

    fn apply(&mut self) -> Result<String, Error> {
        let new = (self.again)()?.settled()?;
        let Held::Pinned(held, _, readers) = &mut self.held else {
            return Err(Error::Failed(
                "what is not pinned cannot be changed; mount a bpf file system on /sys/fs/bpf and start again".into(),
            ));
        };
        let cgroup = new.target.open()?;
        refuse_fixed(&self.args, &new, held, &new.target.instance(&new.target.find()?, &cgroup)?)?;
        let mut wanted = new.target.build(cgroup, configuration(held)?)?;
        let rule = new.pods.rule();
        if let Some(pods) = &self.pods {
            refuse_sticky(&wanted)?;
            // Those that the new rule does not mean leave one by one, while everything else goes on.
            wanted.more = pods.attached();
        }
        let less = trusts_less(&self.args, &new);
        let outcome = held.ensure(&wanted.request(), &mut |_| {})?;
        let policy = &wanted.plane.options.policy;
        readers.trust(held, policy.trust.programs.clone())?;
        wanted.note();
        let drain = new.target.drain();
        self.args = new;
        if let Some(pods) = &mut self.pods {
            pods.set_rule(rule);
        }
        let done = match outcome {
            // New maps hold new connections alone.
            Outcome::Superseded { .. } => upgrade::report(outcome),
            _ if wanted.plane.drain.is_none() => report(outcome, STICKY),
            _ => match held.leave(&|member| less || !is_admitted(policy, member), drain)? {
                0 => report(outcome, "connections that are no longer allowed have left"),
                left => report(
                    outcome,
                    &format!("{left} sockets of connections that are no longer allowed use the stack and leave later"),
                ),
            },
        };
        let plane = &wanted.plane;
        let adopted = self.args.target.existing.adopt(plane, |looks| held.adopt(plane, looks));
        Ok(adopted.map_or(done.clone(), |adopted| format!("{done}; {adopted}")))
    }
}

/// What is said where single connections cannot leave.
const STICKY: &str = "in the sticky tier, connections made before go on as they are";

fn report(outcome: Outcome, of_before: &str) -> String {
    let what = match outcome {
        Outcome::Already => "the data plane was so already",
        _ => "programs replaced",
    };
    format!("{what}; {of_before}")
}

/// Whether the policy admits an end of a connection that exists.
fn is_admitted(policy: &Policy, member: &Member) -> bool {
    policy.admits(!member.state.is_client, member.local, member.remote)
}

/// Whether a reader may have the trust of a rule that is not there any more.
fn trusts_less(old: &Args, new: &Args) -> bool {
    let [old, new] = [old, new].map(|args| args.target.plane.given());
    let mut trusted = old.iter().filter(|flag| flag.starts_with("--trust="));
    trusted.any(|flag| !new.contains(flag))
}

/// Fails where a setting differs that takes another start.
fn refuse_fixed(old: &Args, new: &Args, held: &Instance, named: &Instance) -> Result<(), Error> {
    let changed = [
        ("pods, where cgroup was named, or the other way round,", old.pods.are_given() != new.pods.are_given()),
        ("cri", old.pods.named_socket() != new.pods.named_socket()),
        ("cgroup or bpffs", held.dir() != named.dir()),
        ("unpinned", old.unpinned != new.unpinned),
        ("metrics", old.metrics != new.metrics),
        ("log-format", old.log_format != new.log_format),
        ("seccomp", old.seccomp != new.seccomp),
        ("user", old.user != new.user),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        Some((name, _)) => Err(Error::Failed(format!(
            "another value of {name} takes another start of `sidestep run`; take the change back, or stop and start it"
        ))),
        None => Ok(()),
    }
}
