//! What is known of a fault.

use serde::Serialize;

use super::stated_version;
use crate::syscall::Release;

/// A fault of some kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// A word that stays the same when the sentences change.
    pub id: &'static str,
    /// What holds in a kernel without it.
    pub holds: &'static str,
    /// What happens in a kernel with it, as a sentence.
    pub why: &'static str,
    /// The commit of the kernel that corrects it or, where none does, that brought it.
    pub commit: Option<&'static str>,
    /// Its number in the list of vulnerabilities.
    pub cve: Option<&'static str>,
    /// Where to read about it: mostly the first line of the commit.
    pub source: &'static str,
    /// What it does.
    pub effect: Effect,
    /// Whether what sidestep does can meet it.
    pub reach: Reach,
    /// What shows that a kernel has it.
    pub evidence: Evidence,
    /// The first releases that have it, one a stable series; empty where it is older than Linux 5.10.
    pub since: &'static [Release],
    /// The first releases that do not have it any more, one a stable series.
    pub fixed: &'static [Release],
    /// What to do in a kernel that has it.
    pub remedy: &'static str,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Bytes are lost, or arrive in another order.
    LosesData,
    /// The kernel crashes, or a CPU hangs.
    CrashesKernel,
    /// A local program can use it against the kernel.
    IsExploitable,
    /// A program waits for what is there.
    Stalls,
    /// Memory is not freed, or not counted.
    CostsMemory,
}

impl Effect {
    /// How bad it is, in a word.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::LosesData | Self::CrashesKernel => "critical",
            Self::IsExploitable => "high",
            Self::Stalls => "medium",
            Self::CostsMemory => "low",
        }
    }

    /// What it does, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::LosesData => "loses data",
            Self::CrashesKernel => "crashes the kernel",
            Self::IsExploitable => "can be exploited by local programs",
            Self::Stalls => "makes programs or a CPU wait",
            Self::CostsMemory => "costs memory",
        }
    }
}

/// Whether what sidestep does can meet a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// It can.
    Reached,
    /// It could, and sidestep does something about it.
    Avoided(&'static str),
    /// It cannot, since sidestep does not use that part of the kernel.
    NotUsed(&'static str),
}

impl Reach {
    const fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Avoided(_) => "avoided",
            Self::NotUsed(_) => "not_used",
        }
    }
}

/// What shows that a kernel has a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Its types have this field of this structure.
    Field(&'static str, &'static str),
    /// Its types have this function, or it is this release or a later one, where the function may be inlined.
    Function(&'static str, Release),
    /// A loopback connection behaves so.
    Probe(Probe),
    /// The kernel leaves an order to the processor, which x86 keeps and others need not.
    WeakOrder,
    /// Nothing but its version, which does not decide for certain.
    Release,
}

/// What is tried on a loopback connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// Redirected bytes can be read as soon as send(2) has returned.
    AtOnce,
    /// Redirected bytes are read before those that came later by the stack.
    Order,
    /// A socket that has left the sockhash reads what comes by the stack.
    AfterLeaving,
    /// FIONREAD sees bytes that came by the stack.
    FionreadStack,
    /// FIONREAD sees redirected bytes.
    FionreadRedirected,
    /// Redirected bytes count in the receiver's buffer.
    ReceiveBuffer,
    /// The keys of kTLS are refused for a socket that is in a sockhash.
    TlsKeys,
}

/// What a finding says of the fault that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultFacts {
    /// A word that stays the same when the sentences change.
    pub id: &'static str,
    /// critical, high, medium or low.
    pub severity: &'static str,
    /// loses_data, crashes_kernel, is_exploitable, stalls or costs_memory.
    pub effect: Effect,
    /// Whether sidestep can meet it: reached, avoided or not_used.
    pub reach: &'static str,
    /// The commit of the kernel that corrects it or, where none does, that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'static str>,
    /// Its number in the list of vulnerabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cve: Option<&'static str>,
    /// Where to read about it: mostly the first line of the commit.
    pub source: &'static str,
    /// The first releases that have it, one a stable series; empty where it is older than Linux 5.10.
    pub since: Vec<String>,
    /// The first releases that do not have it any more, one a stable series.
    pub fixed: Vec<String>,
}

impl Fault {
    /// Whether a kernel that surely has it must not be used: what sidestep does would lose data or crash it.
    pub const fn forbids(&self) -> bool {
        matches!(self.effect, Effect::LosesData | Effect::CrashesKernel) && matches!(self.reach, Reach::Reached)
    }

    /// How others call it: by its CVE, its commit or its series of patches.
    pub fn called(&self) -> String {
        match (self.cve, self.commit) {
            (Some(cve), _) => cve.into(),
            (None, Some(commit)) => format!("commit {commit}"),
            (None, None) => self.source.into(),
        }
    }

    pub(in crate::agent::check) fn facts(&self) -> FaultFacts {
        let text = |releases: &[Release]| releases.iter().map(|release| stated_version::short(*release)).collect();
        FaultFacts {
            id: self.id,
            severity: self.effect.severity(),
            effect: self.effect,
            reach: self.reach.word(),
            commit: self.commit,
            cve: self.cve,
            source: self.source,
            since: text(self.since),
            fixed: text(self.fixed),
        }
    }
}
