//! The family and the labels of each counter of the programs.

use crate::dataplane::Counter;

/// Where a counter is found: the family's name without the unit and `_total`, and what tells it from others of its family.
pub(super) struct Place {
    pub(super) family: &'static str,
    pub(super) label: Option<(&'static str, &'static str)>,
}

/// A family of counters: its name without `_total`, its unit, and what it counts.
pub(super) const FAMILIES: [(&str, &str, &str); 14] = [
    ("redirected", "bytes", "Bytes that went past the stack"),
    ("redirected", "messages", "Messages that went past the stack"),
    (
        "stack",
        "bytes",
        "Bytes that connections inside the cgroup have exchanged by the stack, also those that never were in the sockhash, but not those \
         left alone",
    ),
    ("passed", "bytes", "Bytes of sockets in the sockhash that took the stack"),
    ("passed", "messages", "Messages of sockets in the sockhash that took the stack, by the reason"),
    ("enrolled", "sockets", "Active ends that entered the sockhash"),
    ("paired", "connections", "Connections whose passive end found its active end"),
    ("unenrolled", "connections", "Pairs that left the sockhash and are plain TCP again"),
    ("unclaimed", "sockets", "Active ends that left the sockhash because their peer is outside"),
    (
        "left_alone",
        "connections",
        "SYNs answered without an announcement, since the last connections of their listener were too short to gain; also those of a \
         flood",
    ),
    ("plain", "sockets", "Sockets that stay plain TCP, by the reason"),
    ("armed", "sockets", "Receivers that get a callback each second until they have read redirected bytes"),
    ("lost", "events", "Changes of connections for which the buffer of `sidestep watch` had no room"),
    ("drained", "sockets", "Entries of the sockhash that the drain has removed, or had to leave in a pass"),
];

/// Where `counter` is found.
pub(super) fn place(counter: Counter) -> Place {
    let (family, label) = match counter {
        Counter::RedirectedBytes | Counter::RedirectedMessages => ("redirected", None),
        Counter::StackBytes => ("stack", None),
        Counter::PassedBytes => ("passed", None),
        Counter::Enrolled => ("enrolled", None),
        Counter::Paired => ("paired", None),
        Counter::Unenrolled => ("unenrolled", None),
        Counter::Unclaimed => ("unclaimed", None),
        Counter::LeftAlone => ("left_alone", None),
        Counter::Armed => ("armed", None),
        Counter::ChangesLost => ("lost", None),
        Counter::Drained => ("drained", Some(("outcome", "removed"))),
        Counter::DrainWaiting => ("drained", Some(("outcome", "waiting"))),
        Counter::Blocking | Counter::Excluded | Counter::MapRefused | Counter::NoStorage => {
            ("plain", Some(("reason", counter.name())))
        }
        // The others are the reasons for which messages take the stack.
        _ => ("passed", Some(("reason", counter.name().strip_prefix("pass_").unwrap_or(counter.name())))),
    };
    Place { family, label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_one_place_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for counter in Counter::ALL {
            let Place { family, label } = place(*counter);
            assert!(FAMILIES.iter().any(|(name, unit, _)| (*name, *unit) == (family, counter.unit())), "{counter:?}");
            assert!(seen.insert((family, counter.unit(), label)), "{counter:?} shares its place");
            let is_reason = counter.name().starts_with("pass_");
            assert_eq!(is_reason, family == "passed" && label.is_some(), "{counter:?}");
        }
    }
}
