//! By what the rows are sorted.

use std::cmp::Ordering;

use super::activity::Row;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Bytes,
    Messages,
    Share,
    Client,
    Server,
}

/// The words for the flag and the screen.
pub(super) const SORTS: [(&str, Sort); 5] = [
    ("bytes", Sort::Bytes),
    ("messages", Sort::Messages),
    ("share", Sort::Share),
    ("client", Sort::Client),
    ("server", Sort::Server),
];

impl Sort {
    pub(super) fn name(self) -> &'static str {
        SORTS.iter().find(|(_, sort)| *sort == self).map_or("", |(name, _)| name)
    }

    /// The next one, and after the last the first.
    pub(super) fn next(self) -> Self {
        let at = SORTS.iter().position(|(_, sort)| *sort == self).unwrap_or(0);
        SORTS[(at + 1) % SORTS.len()].1
    }

    /// Numbers from the largest down, names from A on. Rows that are equal in this keep the order of their processes.
    pub(super) fn compare(self, a: &Row, b: &Row) -> Ordering {
        let first = match self {
            Self::Bytes => b.bytes_per_second.total_cmp(&a.bytes_per_second),
            Self::Messages => b.messages_per_second.total_cmp(&a.messages_per_second),
            Self::Share => b.share.unwrap_or(-1.0).total_cmp(&a.share.unwrap_or(-1.0)),
            Self::Client => a.client.process.cmp(&b.client.process),
            Self::Server => a.server.process.cmp(&b.server.process),
        };
        let key = |row: &Row| (row.client.pid, row.client.fd);
        first.then_with(|| key(a).cmp(&key(b)))
    }
}
