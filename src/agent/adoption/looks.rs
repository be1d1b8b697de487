//! When a connection that has left the sockhash may come back: when it has been calm for a while.
//!
//! A pair leaves when it carries a stream, which the stack gathers better, or when a reader falls behind. A pool of requests
//! and answers that carried one large transfer should be accelerated again. While such a connection is on the stack, the
//! kernel counts its segments with data. It is calm while each direction has at least one for 64 of the other one: an answer
//! that is large takes many, but a stream has none that come back. One that comes back and leaves again has to be calm for
//! twice as long the next time, so that it does not flap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::agent::error::Result;
use crate::dataplane::{AdoptionAnswer, Counter};
use crate::sockets::{Connection, Record, Scanner};

/// How long a connection has to be calm at first.
const CALM: Duration = Duration::from_secs(4);
/// How often that is doubled at most: to 17 minutes.
const MOST_DOUBLED: u32 = 8;
/// Segments of one direction for each of the other: 64 of 1,448 bytes are an answer of 90 KiB.
const RATIO: u64 = 64;
/// Segments that do not tell: a large answer that was just underway.
const FEW: u64 = 128;

/// What is known of connections between one look and the next.
#[derive(Debug)]
pub struct Looks {
    calm: Duration,
    seen: HashMap<u64, Seen>,
    /// Loaded at the first look: it takes the kernel's types, which are megabytes.
    scanner: Option<Scanner>,
}

/// One connection, by the inode of its client's socket.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Data segments that the client has sent and received.
    segments: [u32; 2],
    at: Instant,
    calm_since: Option<Instant>,
    /// Its pair has left.
    has_left: bool,
    /// How often it has come back.
    returns: u32,
    /// How often it was asked in vain, and when it is asked again.
    asked: u32,
    not_before: Option<Instant>,
}

impl Default for Looks {
    fn default() -> Self {
        Self::new(CALM)
    }
}

impl Looks {
    /// A connection has to be calm for so long at first.
    pub fn new(calm: Duration) -> Self {
        Self { calm, seen: HashMap::new(), scanner: None }
    }

    /// The same without what is known of connections.
    pub fn forgetting(self) -> Self {
        Self { seen: HashMap::new(), ..self }
    }

    /// All sockets of the machine.
    pub(super) fn scan(&mut self) -> Result<Vec<Record>> {
        let scanner = match self.scanner.take() {
            Some(scanner) => scanner,
            None => Scanner::new()?,
        };
        Ok(self.scanner.insert(scanner).scan()?)
    }

    /// What all connections are at this moment.
    pub(super) fn note(&mut self, connections: &[Connection], now: Instant) {
        let mut seen = HashMap::with_capacity(connections.len());
        for Connection { client, server } in connections {
            let segments = client.data_segments;
            let one = match self.seen.get(&client.inode) {
                None => Seen::new(segments, now),
                // What it was asked before is over. One end alone may be in another tool's map.
                Some(before) if client.in_socket_map && server.in_socket_map => {
                    Seen { returns: before.returns, ..Seen::new(segments, now) }
                }
                Some(before) => {
                    let since = before.calm_since.unwrap_or(before.at);
                    let calm_since = are_balanced(before.segments, segments).then_some(since);
                    Seen { segments, at: now, calm_since, ..*before }
                }
            };
            seen.insert(client.inode, one);
        }
        self.seen = seen;
    }

    /// Whether a connection is to be asked, whose client's socket has this inode.
    pub(super) fn is_due(&self, inode: u64, now: Instant) -> bool {
        self.seen.get(&inode).is_none_or(|seen| {
            if seen.has_left { self.is_calm(seen, now) } else { seen.not_before.is_none_or(|then| now >= then) }
        })
    }

    /// Whether a connection whose pair has left comes back now, if it `may` at all.
    pub(super) fn tries(&mut self, inode: u64, may: bool, now: Instant) -> bool {
        let comes_back = may && self.seen.get(&inode).is_some_and(|seen| self.is_calm(seen, now));
        if let Some(seen) = self.seen.get_mut(&inode) {
            seen.has_left = true;
            if comes_back {
                (seen.calm_since, seen.returns) = (None, seen.returns + 1);
            }
        }
        comes_back
    }

    /// It was asked in vain.
    pub(super) fn put_off(&mut self, inode: u64, now: Instant) {
        let calm = self.calm;
        if let Some(seen) = self.seen.get_mut(&inode) {
            seen.not_before = Some(now + calm * doubled(seen.asked));
            seen.asked += 1;
        }
    }

    fn is_calm(&self, seen: &Seen, now: Instant) -> bool {
        seen.calm_since.is_some_and(|since| now.duration_since(since) >= self.calm * doubled(seen.returns))
    }
}

impl Seen {
    fn new(segments: [u32; 2], at: Instant) -> Self {
        Self { segments, at, calm_since: None, has_left: false, returns: 0, asked: 0, not_before: None }
    }
}

/// How many times as long as at first, after so many times.
fn doubled(times: u32) -> u32 {
    1 << times.min(MOST_DOUBLED)
}

/// Whether each direction has had its part of the segments.
fn are_balanced(before: [u32; 2], now: [u32; 2]) -> bool {
    let added = |direction: usize| -> u64 {
        let counts = [&now, &before].map(|counts| counts.get(direction).copied().unwrap_or(0));
        counts[0].wrapping_sub(counts[1]).into()
    };
    let (sent, received) = (added(0), added(1));
    sent.max(received) <= sent.min(received) * RATIO + FEW
}

/// Whether the reason for which a pair has left may be over.
pub(super) fn may_be_over(end: &AdoptionAnswer) -> bool {
    // Socket options, another tool's callbacks and other ways of reading do not go away when it is calm.
    let lasting = [Counter::PassOption, Counter::PassCallbacks, Counter::PassReader];
    end.leaving.is_none_or(|reason| !lasting.contains(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_calm_and_streams_are_not() {
        assert!(are_balanced([5, 5], [5, 5]));
        assert!(are_balanced([0, 0], [1000, 1000]));
        assert!(are_balanced([0, 0], [1000, 60_000]), "answers of 60 segments");
        assert!(are_balanced([u32::MAX, 7], [3, 9]), "the counts wrap");
        assert!(are_balanced([0, 0], [0, 100]), "one large answer");
        assert!(!are_balanced([0, 0], [10_000, 0]));
        assert!(!are_balanced([0, 0], [1, 1000]));
    }

    #[test]
    fn each_return_has_to_wait_twice_as_long() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10_000);
        let mut looks = Looks::default();
        let calm_for = |looks: &mut Looks, wait: Duration| {
            let seen = looks.seen.entry(1).or_insert_with(|| Seen::new([0; 2], start));
            seen.calm_since = Some(now.checked_sub(wait).unwrap());
        };
        assert!(looks.is_due(1, now) && !looks.tries(1, true, now), "it was not seen before");
        for returns in 0..20 {
            let needed = CALM * doubled(returns);
            calm_for(&mut looks, needed - Duration::from_millis(1));
            assert!(!looks.tries(1, true, now), "{returns}");
            calm_for(&mut looks, needed);
            assert!(looks.is_due(1, now));
            assert!(!looks.tries(1, false, now), "the reason does not pass");
            assert!(looks.tries(1, true, now), "{returns}");
            assert!(!looks.is_due(1, now), "it has to be calm again");
        }
    }

    #[test]
    fn what_was_asked_in_vain_is_forgotten_when_both_ends_are_in_a_map() {
        let now = Instant::now();
        for (in_map, is_forgotten) in
            [([false; 2], false), ([true, false], false), ([false, true], false), ([true; 2], true)]
        {
            let [client, server] = in_map.map(Record::blank);
            let connections = [Connection { client, server }];
            let mut looks = Looks::default();
            looks.note(&connections, now);
            looks.put_off(0, now);
            looks.note(&connections, now);
            assert_eq!(looks.is_due(0, now), is_forgotten, "{in_map:?}");
        }
    }

    #[test]
    fn what_is_asked_in_vain_is_asked_less_and_less_often() {
        let mut now = Instant::now();
        let mut looks = Looks { seen: HashMap::from([(1, Seen::new([0; 2], now))]), ..Looks::default() };
        for asked in 0..10 {
            assert!(looks.is_due(1, now), "{asked}");
            looks.put_off(1, now);
            now += CALM * doubled(asked);
            assert!(!looks.is_due(1, now - Duration::from_millis(1)), "{asked}");
        }
    }
}
