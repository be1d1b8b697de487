//! One look at all connections of the machine.

use crate::sockets::{Connections, Scanner, join};
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
    /// Loads the iterator: needs CAP_BPF and CAP_PERFMON, and Linux 5.11.
    pub fn new() -> Result<Self> {
        Ok(Self { scanner: Scanner::new()? })
    }

    /// Looks once. What was not recognised in a first look, because its numbers changed at that moment, gets a second one.
    pub fn look(&self) -> Result<Observed> {
        let first = join(self.scanner.scan()?);
        if first.single.is_empty() {
            return Ok(Observed { connections: first });
        }
        let second = join(self.scanner.scan()?);
        let better = if second.local.len() >= first.local.len() { second } else { first };
        Ok(Observed { connections: better })
    }
}
