//! What the processes of the testbed report to their parent, as lines of JSON.

use std::io;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::socket::StackBytes;
use super::watched::Watched;

/// What one side of a process has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Sockets.
    pub connections: u64,
    /// Bytes that the process wrote to them.
    pub written: u64,
    /// Those of the bytes that the TCP/IP stack carried.
    pub by_stack: u64,
    /// Segments with payload that the stack sent.
    pub data_segments: u64,
}

impl Traffic {
    /// Adds a socket to which `written` bytes went.
    pub(super) fn add(&mut self, socket: &Watched, written: u64) -> io::Result<()> {
        let stack = StackBytes::of(&socket.stream)?;
        *self += Self { connections: 1, written, by_stack: stack.sent, data_segments: stack.data_segments.into() };
        Ok(())
    }

    /// The share of bytes that went past the stack, 0 to 1. Zero when nothing was written.
    pub fn share_past_stack(&self) -> f64 {
        if self.written == 0 { 0.0 } else { 1.0 - self.by_stack as f64 / self.written as f64 }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.written += other.written;
        self.by_stack += other.by_stack;
        self.data_segments += other.data_segments;
    }
}

/// Request latencies of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// Requests measured.
    pub requests: u64,
    /// Median, ns.
    pub p50_ns: u64,
    /// 99th percentile, ns.
    pub p99_ns: u64,
    /// From the first measured request to the last answer, ns.
    pub elapsed_ns: u64,
}

impl Latency {
    /// Sums up single latencies, in any order.
    pub(super) fn of(mut each_ns: Vec<u64>, elapsed_ns: u64) -> Self {
        each_ns.sort_unstable();
        // Nearest rank: the smallest value that at least this share of all values does not exceed.
        let rank = |percent: usize| {
            let rank = (each_ns.len() * percent).div_ceil(100).max(1);
            each_ns.get(rank - 1).copied().unwrap_or_default()
        };
        Self { requests: each_ns.len() as u64, p50_ns: rank(50), p99_ns: rank(99), elapsed_ns }
    }
}

/// All a process has to say at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Towards the program that connected to it.
    pub downstream: Traffic,
    /// Towards whomever it connected to.
    pub upstream: Traffic,
    /// Connections that ended with an error.
    pub failed: u64,
}

/// A line on a process's standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    /// A server listens; a client has warmed up and waits for a line.
    Ready,
    /// A client has its answers; its connections are still open.
    Measured(Latency),
    /// The end.
    Done(Report),
    /// It cannot go on; a clause.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=200).rev().collect(), 7);
        assert_eq!(latency, Latency { requests: 200, p50_ns: 100, p99_ns: 198, elapsed_ns: 7 });
        assert_eq!(Latency::of(vec![5], 0).p99_ns, 5);
        assert_eq!(Latency::of(Vec::new(), 0), Latency::default());
    }

    #[test]
    fn the_share_past_the_stack_is_what_the_stack_did_not_carry() {
        let half = Traffic { connections: 1, written: 200, by_stack: 100, data_segments: 1 };
        assert_eq!(half.share_past_stack(), 0.5);
        assert_eq!(Traffic::default().share_past_stack(), 0.0);
    }
}
