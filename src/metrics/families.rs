//! The families of metrics, in OpenMetrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter as Count;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::names::{FAMILIES, place};
use super::pods::{PodFacts, pods};
use crate::agent::Reading;
use crate::observe::{Observed, State};
use crate::syscall::Release;

type Labels = Vec<(&'static str, String)>;

/// What a scrape shows.
#[derive(Debug, Default)]
pub struct Facts {
    /// The attached data planes.
    pub readings: Vec<Reading>,
    /// How many connections of the node are in each state; none where they cannot be seen.
    pub connections: Option<StateCounts>,
    /// The pods; none where no agent follows them.
    pub pods: Option<PodFacts>,
}

/// How many connections are in each state.
#[derive(Clone, Debug)]
pub struct StateCounts(Vec<(State, usize)>);

impl StateCounts {
    /// Of one look.
    pub fn of(observed: &Observed) -> Self {
        let states: Vec<State> = observed.connections.local.iter().map(State::of).collect();
        let count = |state: State| states.iter().filter(|one| **one == state).count();
        Self(State::ALL.into_iter().map(|state| (state, count(state))).collect())
    }
}

/// The facts as OpenMetrics text.
pub fn openmetrics(facts: &Facts) -> String {
    let mut registry = Registry::with_prefix("sidestep");
    registry.register(
        "build",
        "The version of sidestep that tells this",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION").to_owned())]),
    );
    registry.register(
        "kernel",
        "The kernel that runs the programs",
        Info::new(vec![("release", Release::running_text())]),
    );
    counters(&mut registry, &facts.readings);
    maps(&mut registry, &facts.readings);
    programs(&mut registry, &facts.readings);
    let problems = Family::<Labels, Gauge>::default();
    for reading in &facts.readings {
        problems.get_or_create(&labels(reading)).set(reading.problems.len().try_into().unwrap_or(i64::MAX));
    }
    registry.register("problems", "What is not as it was attached; `sidestep status` says what", problems);
    if let Some(counts) = &facts.connections {
        connections(&mut registry, counts);
    }
    if let Some(facts) = &facts.pods {
        pods(&mut registry, facts);
    }
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn labels(reading: &Reading) -> Labels {
    vec![("cgroup", reading.cgroup.display().to_string())]
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

fn counters(registry: &mut Registry, readings: &[Reading]) {
    for (name, unit, help) in FAMILIES {
        let family = Family::<Labels, Count>::default();
        for reading in readings {
            for (counter, value) in reading.counters.iter() {
                let place = place(counter);
                if (place.family, counter.unit()) == (name, unit) {
                    let mut labels = labels(reading);
                    if let Some((label, is)) = place.label {
                        labels = with(labels, label, is);
                    }
                    family.get_or_create(&labels).inc_by(value);
                }
            }
        }
        let unit = if unit == "bytes" { Unit::Bytes } else { Unit::Other(unit.to_owned()) };
        registry.register_with_unit(name, help, unit, family);
    }
}

fn maps(registry: &mut Registry, readings: &[Reading]) {
    let [entries, capacity] = [(); 2].map(|()| Family::<Labels, Gauge>::default());
    for reading in readings {
        for map in &reading.maps {
            let labels = with(labels(reading), "map", map.name);
            entries.get_or_create(&labels).set(map.entries.try_into().unwrap_or(i64::MAX));
            capacity.get_or_create(&labels).set(map.capacity.into());
        }
    }
    registry.register("map_entries", "Entries in a map", entries);
    registry.register("map_capacity", "The most entries that a map takes", capacity);
}

fn programs(registry: &mut Registry, readings: &[Reading]) {
    let seconds = Family::<Labels, Count<f64, AtomicU64>>::default();
    let runs = Family::<Labels, Count>::default();
    if readings.iter().all(|reading| reading.programs.is_empty()) {
        // The kernel's statistics are off, and a zero would say that the programs cost nothing.
        return;
    }
    for reading in readings {
        for program in &reading.programs {
            let labels = with(labels(reading), "program", program.name);
            seconds.get_or_create(&labels).inc_by(program.run_time.as_secs_f64());
            runs.get_or_create(&labels).inc_by(program.runs);
        }
    }
    let help = "Time that a program has run, while kernel.bpf_stats_enabled was 1";
    registry.register_with_unit("bpf_program_run", help, Unit::Seconds, seconds);
    registry.register("bpf_program_runs", "How often a program has run, while kernel.bpf_stats_enabled was 1", runs);
}

fn connections(registry: &mut Registry, StateCounts(counts): &StateCounts) {
    let family = Family::<Labels, Gauge>::default();
    for (state, count) in counts {
        let gauge = family.get_or_create(&vec![("state", state.name().to_owned())]);
        gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
    }
    registry.register(
        "connections",
        "TCP connections of this node with both ends on it, by what keeps them plain",
        family,
    );
}
