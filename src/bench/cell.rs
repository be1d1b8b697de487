//! What is measured: one cell is one workload at one size, over one link, on one placement of the two ends.

use serde::{Deserialize, Serialize};

use super::languages::Language;

/// What the two ends do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// The client sends a message, the server sends it back.
    PingPong,
    /// The client writes message after message; the server reads them as they come.
    Stream,
    /// A connection for each message: connect, one message there and back, close.
    Connection,
}

impl Workload {
    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::PingPong => "ping-pong",
            Self::Stream => "stream",
            Self::Connection => "connection",
        }
    }
}

/// What lies between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// 127.0.0.1 in a network namespace of its own.
    Loopback,
    /// A veth pair between two network namespaces.
    Veth,
    /// The same with Istio's NAT rules, so with connection tracking; the connection is redirected to port 15006.
    VethConntrack,
}

impl Link {
    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::VethConntrack => "veth+conntrack",
        }
    }
}

/// Where the two ends run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Both on one CPU: no wake-up crosses CPUs, so ratios are steady.
    SameCore,
    /// Both on one CPU, and the server runs as soon as it is woken. So the kernel's scheduler cannot choose, and each variant
    /// switches between the two ends at the same places.
    ServerFirst,
    /// One CPU each.
    AcrossCores,
}

impl Placement {
    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameCore => "same core",
            Self::ServerFirst => "same core, server first",
            Self::AcrossCores => "two cores",
        }
    }

    /// Both ends share a CPU.
    pub(super) fn is_one_core(self) -> bool {
        self != Self::AcrossCores
    }
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// TCP outside the accelerated cgroup: what all ratios are relative to.
    Plain,
    /// Accelerated, paired by initial sequence numbers.
    Sequence,
    /// Accelerated, paired by addresses.
    FourTuple,
    /// Redirected always, without a gate: the method of Intel's article. Only this benchmark has it.
    Ungated,
    /// A pair of AF_UNIX stream sockets: no acceleration of TCP can hope for much more.
    Unix,
    /// Two pipes: less than a socket can do.
    Pipe,
    /// Plain TCP, while programs watch how readers read: what the protection of others costs it.
    Stranger,
    /// In the accelerated cgroup, watched, and still on probation.
    Probation,
    /// Accelerated after its probation, and watched: what the default is.
    Watched,
    /// Accelerated without a count of what the stack carries.
    Uncounted,
}

impl Variant {
    /// All that most cells have, in the order of the columns.
    pub const ALL: [Self; 6] = [Self::Plain, Self::Sequence, Self::FourTuple, Self::Ungated, Self::Unix, Self::Pipe];

    /// Those that show what the protection of readers costs, and the count of bytes. All pair by sequence numbers.
    pub const PROTECTION: [Self; 6] =
        [Self::Plain, Self::Sequence, Self::Stranger, Self::Probation, Self::Watched, Self::Uncounted];

    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sequence => "sequence",
            Self::FourTuple => "four-tuple",
            Self::Ungated => "ungated",
            Self::Unix => "AF_UNIX",
            Self::Pipe => "pipe",
            Self::Stranger => "plain, others watched",
            Self::Probation => "on probation",
            Self::Watched => "watched",
            Self::Uncounted => "without tally",
        }
    }

    /// It is TCP.
    pub(super) fn is_tcp(self) -> bool {
        !matches!(self, Self::Unix | Self::Pipe)
    }
}

/// One row of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What the ends do.
    pub workload: Workload,
    /// Bytes of a message.
    pub size: usize,
    /// What lies between them.
    pub link: Link,
    /// Where they run.
    pub placement: Placement,
    /// Without TCP_NODELAY, so that the stack may gather small messages.
    pub nagle: bool,
    /// The server is outside the accelerated cgroup: what traffic with other nodes costs.
    pub server_outside: bool,
    /// Its variants are those of [`Variant::PROTECTION`].
    pub protection: bool,
    /// Both ends are programs of this language; none for our own.
    pub language: Option<Language>,
}

impl Cell {
    /// The variants that make sense for it.
    pub fn variants(&self) -> &'static [Variant] {
        if self.protection {
            return &Variant::PROTECTION;
        }
        if self.language.is_some() {
            return &Variant::ALL[..4];
        }
        let local = self.link == Link::Loopback && !self.server_outside && self.workload != Workload::Connection;
        if local { &Variant::ALL } else { &Variant::ALL[..4] }
    }

    /// A name that no other cell has, for tables and file names.
    pub fn name(&self) -> String {
        let outside = if self.server_outside { ", server outside" } else { "" };
        let nagle = if self.nagle { ", no TCP_NODELAY" } else { "" };
        let protection = if self.protection { ", protection" } else { "" };
        let language = self.language.map_or(String::new(), |language| format!(", {}", language.name()));
        let (workload, link, placement) = (self.workload.name(), self.link.name(), self.placement.name());
        format!("{workload} {}, {link}, {placement}{nagle}{outside}{protection}{language}", bytes(self.size))
    }
}

/// A size as people write it: 64 B, 16 KiB, 1 MiB.
pub(super) fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}
