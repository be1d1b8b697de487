//! The families of metrics about pods, which an agent has that follows them.

use prometheus_client::metrics::counter::Counter as Count;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The pods of the node by what has become of them, and how it goes with the container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Their cgroup is in the data plane.
    pub accelerated: usize,
    /// They are not meant any more, and bytes of theirs are unread.
    pub leaving: usize,
    /// They are selected, and their annotation says no.
    pub opted_out: usize,
    /// They are selected and have no annotation, and the default is off.
    pub not_opted_in: usize,
    /// They are selected, and something is wrong with them.
    pub refused: usize,
    /// No selector means them.
    pub not_selected: usize,
    /// Whether the runtime has answered the last time.
    pub runtime_answers: bool,
    /// How often a call has failed, or the connection could not be made.
    pub runtime_errors: u64,
    /// How often the runtime has answered again after that.
    pub runtime_reconnects: u64,
}

pub(super) fn pods(registry: &mut Registry, facts: &PodFacts) {
    let pods = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
    for (state, count) in [
        ("accelerated", facts.accelerated),
        ("leaving", facts.leaving),
        ("opted_out", facts.opted_out),
        ("not_opted_in", facts.not_opted_in),
        ("refused", facts.refused),
        ("not_selected", facts.not_selected),
    ] {
        pods.get_or_create(&vec![("state", state)]).set(count.try_into().unwrap_or(i64::MAX));
    }
    registry.register("pods", "Pods of this node that run, by what has become of them", pods);
    let up = Gauge::<i64>::default();
    up.set(facts.runtime_answers.into());
    registry.register("runtime_up", "Whether the container runtime has answered the last time", up);
    for (name, help, value) in [
        ("runtime_errors", "Attempts to read the pods from the container runtime that failed", facts.runtime_errors),
        ("runtime_reconnects", "How often the container runtime has answered again", facts.runtime_reconnects),
    ] {
        let count = Count::<u64>::default();
        count.inc_by(value);
        registry.register(name, help, count);
    }
}
