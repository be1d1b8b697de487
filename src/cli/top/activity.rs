//! What each connection has carried between two looks.

use std::collections::HashMap;
use std::time::Duration;

use super::sort::Sort;
use crate::cli::states::States;
use crate::observe::{End, Observed, PodNames, Processes, State, conditions};
use crate::sockets::Connection;

/// A connection between two looks.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) client: End,
    pub(super) server: End,
    pub(super) state: State,
    /// What keeps it plain, in a word.
    pub(super) hindrance: Option<&'static str>,
    pub(super) bytes_per_second: f64,
    pub(super) messages_per_second: f64,
    /// The part of the bytes that went past the stack, 0 to 1; nothing when none were sent.
    pub(super) share: Option<f64>,
}

/// All of them, and their sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    pub(super) rows: Vec<Row>,
    pub(super) in_socket_map: usize,
    pub(super) bytes_per_second: f64,
    pub(super) share: Option<f64>,
}

/// What a connection has carried until now, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carried {
    by_stack: u64,
    past_it: u64,
    messages: u64,
}

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// By the inode numbers of the two ends, which no other sockets have while these live.
    before: HashMap<[u64; 2], Carried>,
    /// The pods, as the container runtime has named them last.
    pub(super) pods: PodNames,
}

impl Carried {
    fn of(connection: &Connection, states: &States) -> Self {
        let mut sum = Self::default();
        for end in [&connection.client, &connection.server] {
            sum.by_stack += end.bytes_acked;
            sum.messages += u64::from(end.data_segments[0]);
            if let Some(state) = states.of(end) {
                sum.past_it += state.traffic.redirected_bytes;
                sum.messages += state.traffic.redirected_messages;
            }
        }
        sum
    }

    fn since(self, before: Self) -> Self {
        Self {
            by_stack: self.by_stack.saturating_sub(before.by_stack),
            past_it: self.past_it.saturating_sub(before.past_it),
            messages: self.messages.saturating_sub(before.messages),
        }
    }

    fn bytes(self) -> u64 {
        self.by_stack + self.past_it
    }

    fn share(self) -> Option<f64> {
        (self.bytes() > 0).then(|| self.past_it as f64 / self.bytes() as f64)
    }
}

impl Looks {
    /// Before the first one.
    pub(super) fn with(pods: PodNames) -> Self {
        Self { pods, ..Self::default() }
    }

    /// What has happened since the last look, `elapsed` ago. A connection that was not there then begins with nothing.
    pub(super) fn next(&mut self, observed: &Observed, states: &States, elapsed: Duration) -> Activity {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let mut processes = Processes::with(self.pods.clone());
        let mut now = HashMap::new();
        let mut sum = Carried::default();
        let mut activity = Activity::default();
        for connection in &observed.connections.local {
            let key = [connection.client.inode, connection.server.inode];
            let carried = Carried::of(connection, states);
            now.insert(key, carried);
            // Of one that is seen for the first time, it is not known when it carried what it has.
            let gained = self.before.get(&key).map_or_else(Carried::default, |before| carried.since(*before));
            sum.by_stack += gained.by_stack;
            sum.past_it += gained.past_it;
            let conditions = conditions(connection, &mut processes);
            let state = State::of(connection);
            activity.in_socket_map += usize::from(state == State::InSocketMap);
            activity.rows.push(Row {
                client: processes.end(&connection.client),
                server: processes.end(&connection.server),
                state,
                hindrance: conditions.into_iter().find(|one| !one.holds).map(|one| one.code),
                bytes_per_second: gained.bytes() as f64 / seconds,
                messages_per_second: gained.messages as f64 / seconds,
                share: gained.share(),
            });
        }
        self.before = now;
        activity.bytes_per_second = sum.bytes() as f64 / seconds;
        activity.share = sum.share();
        activity
    }
}

impl Activity {
    /// Puts the rows in order.
    pub(super) fn sort(&mut self, sort: Sort, reverse: bool) {
        self.rows.sort_by(|a, b| {
            let ordering = sort.compare(a, b);
            if reverse { ordering.reverse() } else { ordering }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_that_of_the_bytes_since_the_last_look() {
        let [before, after] =
            [(100, 50, 3), (200, 950, 9)].map(|(by_stack, past_it, messages)| Carried { by_stack, past_it, messages });
        let gained = after.since(before);
        assert_eq!((gained.bytes(), gained.messages, gained.share()), (1000, 6, Some(0.9)));
        assert_eq!(before.since(after).share(), None, "a counter that starts again");
    }
}
