//! One look at all connections of the machine.

use crate::sockets::{Connections, Record, Scanner, join};
use crate::syscall::Result;

/// Looks at all sockets, again and again.
#[derive(Debug)]
pub struct Observer {
    scanner: Scanner,
}

/// What one look saw.
#[derive(Debug)]
#[non_exhaustive]
pub struct Observed {
    /// The sockets, joined to connections.
    pub connections: Connections,
}

impl Observer {
    /// Loads the iterator: needs CAP_BPF and CAP_PERFMON, and Linux 5.10.
    pub fn new() -> Result<Self> {
        Ok(Self { scanner: Scanner::new()? })
    }

    /// Looks once, and a second time when the numbers of a socket changed at that moment, since its other end cannot be
    /// recognised then.
    pub fn look(&self) -> Result<Observed> {
        let first = join(self.scanner.scan()?);
        if first.single.iter().all(Record::is_settled) {
            return Ok(Observed { connections: first });
        }
        let second = join(self.scanner.scan()?);
        let better = if second.local.len() >= first.local.len() { second } else { first };
        Ok(Observed { connections: better })
    }
}
