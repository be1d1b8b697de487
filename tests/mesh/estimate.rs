//! What `survey --calibrate` says that acceleration would save on the mesh, and what it does save. It measures, so it does not
//! run by itself: `cargo test --test mesh estimate -- --ignored --nocapture` on a machine that does nothing else.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sidestep::bench::calibrate;
use sidestep::dataplane::Pairing;
use sidestep::observe::{Observer, Processes, Ruling, Survey};

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh};
use crate::up;

/// How far the median estimate may be from what is saved.
const TOLERANCE: f64 = 0.3;
/// Everything runs on one CPU: on several, what the programs of a mesh take depends on which of them sleep.
const CPU: usize = 1;
const REPEATS: usize = 7;
/// Requests of a phase, on each of the connections.
const REQUESTS: u64 = 2000;
const CONNECTIONS: usize = 4;

/// What a phase took.
struct Phase {
    cpu: Duration,
    /// Seconds of CPU time that the survey says would have been saved.
    estimate: f64,
}

impl Phase {
    /// Requests on new connections through the mesh, after some that a trusted reader needs.
    fn of(mesh: &Mesh, kind: Kind, observer: &Observer, estimate: impl Fn(Survey) -> f64 + Sync) -> Self {
        let load = Load { target: mesh.service, protocol: kind.protocol(), connections: CONNECTIONS, short: false };
        mesh.in_client_pod(|| {
            let mut client = Client::new(load).unwrap();
            client.run(|answers| answers >= 200).unwrap();
            let (before, cpu, start) = (observer.look().unwrap(), mesh.cpu_usec(), Instant::now());
            client.run(|answers| answers >= REQUESTS).unwrap();
            let (cpu, elapsed) = (Duration::from_micros(mesh.cpu_usec() - cpu), start.elapsed());
            let after = observer.look().unwrap();
            let survey = Survey::between(&before, &after, elapsed, &mut Processes::default(), |_, _| Ruling::default());
            Self { cpu, estimate: estimate(survey) }
        })
    }
}

#[test]
#[ignore = "it measures, for which the machine has to be quiet; docs/results has what it said"]
fn the_estimate_is_near_what_the_mesh_saves() {
    let observer = Observer::new().unwrap();
    let mut own = CpuSet::new();
    own.set(CPU).unwrap();
    sched_setaffinity(Pid::from_raw(0), &own).unwrap();
    for kind in [Kind::Haproxy, Kind::Tcp] {
        let Some(mesh) = up(kind, &["--cpu", &CPU.to_string()]) else { continue };
        let own = mesh.cgroup().path().file_name().unwrap().display().to_string();
        let mut rounds = Vec::new();
        for _ in 0..REPEATS {
            let costs = calibrate().unwrap();
            let saved_in_mesh = |mut survey: Survey| {
                survey.estimate(costs.clone());
                let groups = survey.groups.iter();
                let ours = groups.filter(|one| one.client_cgroup.as_ref().is_some_and(|path| path.contains(&own)));
                ours.filter_map(|one| one.saved_cpus).sum::<f64>() * survey.seconds
            };
            let plain = Phase::of(&mesh, kind, &observer, saved_in_mesh);
            let acceleration = mesh.accelerate(Pairing::Sequence);
            let accelerated = Phase::of(&mesh, kind, &observer, |_| 0.0);
            drop(acceleration);
            let round = [plain.cpu.as_secs_f64(), accelerated.cpu.as_secs_f64(), plain.estimate];
            say(kind, "", round);
            rounds.push(round);
        }
        let median = |at: usize| {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
            values.sort_by(f64::total_cmp);
            values[REPEATS / 2]
        };
        let ratio = say(kind, " medians", [0, 1, 2].map(median));
        assert!((ratio - 1.0).abs() <= TOLERANCE, "{}: it promises {ratio} of what was saved", kind.name());
    }
}

/// Prints seconds of CPU time by the stack, accelerated, and estimated to be saved; gives the estimate's part of what was saved.
fn say(kind: Kind, what: &str, [plain, accelerated, estimate]: [f64; 3]) -> f64 {
    let saved = plain - accelerated;
    let ms = [plain, accelerated, saved, estimate].map(|seconds| format!("{:.0} ms", seconds * 1e3));
    let [plain, accelerated, saved_ms, estimated] = ms;
    let ratio = estimate / saved;
    println!(
        "{}{what}: plain {plain}, accelerated {accelerated}, saved {saved_ms}; estimated {estimated}: {ratio:.2}",
        kind.name()
    );
    ratio
}
