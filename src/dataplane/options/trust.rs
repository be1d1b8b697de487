//! Which programs may be sent redirected bytes: those that receive by recvmsg.
//!
//! `tcp_splice_read` sees the stack's queue alone. To a program that reads by splice(2) redirected bytes are lost, and a
//! FIN that comes behind them looks like the end of the stream. No socket option and no flag shows such a program before
//! its first call.

use std::path::PathBuf;

use super::PortRange;
use crate::dataplane::kernel::TraceOffsets;

/// Which readers get redirected bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trust {
    /// How programs earn it.
    pub by: TrustBy,
    /// Ports of servers whose connections need not earn it, at neither end.
    pub ports: Vec<PortRange>,
    /// Whether cgroups inside the accelerated one can be named, by [`crate::dataplane::DataPlane::trusted`].
    pub cgroups: bool,
    /// Executables whose processes need not earn it: by path, or by file name alone. The agent's to know.
    pub programs: Vec<PathBuf>,
}

/// How programs earn the trust that redirected bytes need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustBy {
    /// They have it from the start: a program that splices loses bytes.
    #[default]
    Default,
    /// They are watched: see [`Watch`].
    Watching(Watch),
    /// They cannot: only connections to [`Trust::ports`] and those between sockets of trusted cgroups are served.
    Name,
}

impl TrustBy {
    /// A name for it; `None` for the default.
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Watching(watch) => Some(watch.name()),
            Self::Name => Some("by name"),
        }
    }
}

impl Trust {
    /// How readers are watched, if they are.
    pub fn watch(&self) -> Option<Watch> {
        match self.by {
            TrustBy::Watching(watch) => Some(watch),
            TrustBy::Default | TrustBy::Name => None,
        }
    }
}

/// How a kernel lets us see programs receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Where the programs look.
    pub hooks: Hooks,
    /// Where the fields lie that they read.
    pub offsets: TraceOffsets,
    /// Where sockets are until their readers have earned trust.
    pub probation: Probation,
}

impl Watch {
    /// Every combination that the agent attaches, each on kernels of its own. `functions` is [`Hooks::Functions`] with the
    /// arguments of the kernel at hand.
    pub fn all(functions: Hooks, offsets: TraceOffsets) -> [Self; 4] {
        let combinations = [
            (functions, Probation::Inside),
            (Hooks::TracePoints, Probation::Inside),
            (Hooks::TracePoints, Probation::Outside),
            (Hooks::Mixed, Probation::Outside),
        ];
        combinations.map(|(hooks, probation)| Self { hooks, offsets, probation })
    }

    /// A name for it.
    pub const fn name(&self) -> &'static str {
        match (self.hooks, self.probation) {
            (Hooks::Functions { .. }, Probation::Inside) => "functions, inside",
            (Hooks::Functions { .. }, Probation::Outside) => "functions, outside",
            (Hooks::TracePoints, Probation::Inside) => "trace points, inside",
            (Hooks::TracePoints, Probation::Outside) => "trace points, outside",
            (Hooks::Mixed, Probation::Inside) => "mixed, inside",
            (Hooks::Mixed, Probation::Outside) => "mixed, outside",
        }
    }
}

/// Where the sockets of a connection are until both its readers have earned trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probation {
    /// In the sockhash, from the handshake on.
    Inside,
    /// Outside; then the agent enters them. For kernels on which FIONREAD does not see the stack's bytes of a member: a
    /// reader on probation that trusts it (nginx) would wait forever. The programs have to see the receives of other
    /// sockets, too.
    Outside,
}

/// Where the watching programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hooks {
    /// At the exit of `tcp_bpf_recvmsg`, which only sockets in a sockhash call, and at the entry of `tcp_splice_read`.
    /// Others pay nothing.
    Functions {
        /// Which argument of `tcp_bpf_recvmsg` the flags are; Linux 5.19 and others have moved it.
        flags: u8,
        /// How many arguments it has: the result lies behind them.
        arguments: u8,
    },
    /// At the trace point `sock_recv_length` (Linux 6.3), which each receive on the machine passes, and at the entry of
    /// `tcp_splice_read`.
    Mixed,
    /// Trace points: `sock_recv_length` (Linux 6.3), which each receive on the machine passes, and `sys_enter`, which each
    /// system call does.
    TracePoints,
}

/// Receives on a connection before its program's word counts there.
///
/// Proxies that splice receive a request or a handshake first: a CONNECT request, the three messages of SOCKS, the
/// dozen of a PostgreSQL or MySQL login.
pub(in crate::dataplane) const CONNECTION_RECEIVES: i32 = 16;

/// Receives of a program, each on a connection that has had [`CONNECTION_RECEIVES`], after which it is trusted with as
/// many bytes in a row as the most that it has received in a row meanwhile. Some milliseconds of a busy connection.
pub(in crate::dataplane) const PROGRAM_RECEIVES: i32 = 64;

/// A program that has received so many bytes in a row without splicing is trusted with any number.
pub(in crate::dataplane) const STREAM_BYTES: i32 = 1 << 20;
