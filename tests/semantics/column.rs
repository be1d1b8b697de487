//! The columns of the comparison: which sockets block, under which policy.

use crate::socket::Modes;

/// Which cgroup a case runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing attached.
    Plain = 0,
    /// sidestep as it comes.
    Default = 1,
    /// sidestep with `Readers::Any`.
    AnyReader = 2,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// As the matrix calls it.
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    pub(crate) modes: Modes,
    /// The index of the plain column with the same sockets.
    pub(crate) plain: usize,
}

const BLOCKING: Modes = Modes { client_nonblocking: false, server_nonblocking: false };
const MIXED: Modes = Modes { client_nonblocking: true, server_nonblocking: false };
const NONBLOCKING: Modes = Modes { client_nonblocking: true, server_nonblocking: true };

impl Column {
    /// All columns.
    pub(crate) const ALL: [Self; 7] = [
        Self { name: "plain, blocking", policy: Policy::Plain, modes: BLOCKING, plain: 0 },
        Self { name: "plain, server blocking", policy: Policy::Plain, modes: MIXED, plain: 1 },
        Self { name: "plain, non-blocking", policy: Policy::Plain, modes: NONBLOCKING, plain: 2 },
        Self { name: "default, blocking", policy: Policy::Default, modes: BLOCKING, plain: 0 },
        Self { name: "default, server blocking", policy: Policy::Default, modes: MIXED, plain: 1 },
        Self { name: "default, non-blocking", policy: Policy::Default, modes: NONBLOCKING, plain: 2 },
        Self { name: "any reader, blocking", policy: Policy::AnyReader, modes: BLOCKING, plain: 0 },
    ];
    /// The columns of the default policy: these are what users get.
    pub(crate) const DEFAULT: [usize; 3] = [3, 4, 5];
    /// The policy that serves blocking readers too.
    pub(crate) const ANY_READER: usize = 6;
}
