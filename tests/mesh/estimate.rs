//! What `survey --calibrate` says that acceleration would save on the mesh, and what it does save. It measures, so it does not
//! run by itself: `cargo test --release --test mesh estimate -- --ignored --nocapture` on a machine that does nothing else.

use std::time::{Duration, Instant};

use sidestep::bench::calibrate;
use sidestep::dataplane::Pairing;
use sidestep::observe::{Observer, Processes, Survey};

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh};
use crate::up;

/// How much more the middle estimate may promise than is saved. It promises less here: the calibration is on loopback without
/// connection tracking, while the mesh's packets pass Istio's rules, and one of three hops is a veth.
const TOLERANCE: f64 = 0.3;
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
            let survey = Survey::between(&before, &after, elapsed, &mut Processes::default());
            Self { cpu, estimate: estimate(survey) }
        })
    }
}

#[test]
#[ignore = "it measures, for which the machine has to be quiet; docs/results has what it said"]
fn the_estimate_promises_no_more_than_the_mesh_saves() {
    let observer = Observer::new().unwrap();
    for kind in [Kind::Haproxy, Kind::Tcp] {
        let Some(mesh) = up(kind, &[]) else { continue };
        let own = mesh.cgroup().path().file_name().unwrap().display().to_string();
        let mut ratios: Vec<f64> = (0..REPEATS)
            .map(|_| {
                let costs = calibrate().unwrap();
                let saved_in_mesh = |mut survey: Survey| {
                    survey.estimate(&costs);
                    let groups = survey.groups.iter();
                    let ours = groups.filter(|one| one.client_cgroup.as_ref().is_some_and(|path| path.contains(&own)));
                    ours.filter_map(|one| one.saved_cpus).sum::<f64>() * survey.seconds
                };
                let plain = Phase::of(&mesh, kind, &observer, saved_in_mesh);
                let acceleration = mesh.accelerate(Pairing::Sequence);
                let accelerated = Phase::of(&mesh, kind, &observer, |_| 0.0);
                drop(acceleration);
                let saved = plain.cpu.as_secs_f64() - accelerated.cpu.as_secs_f64();
                let ratio = plain.estimate / saved;
                println!(
                    "{}: plain {:.0} ms, accelerated {:.0} ms, saved {:.0} ms; estimated {:.0} ms: {:+.0} %",
                    kind.name(),
                    plain.cpu.as_secs_f64() * 1e3,
                    accelerated.cpu.as_secs_f64() * 1e3,
                    saved * 1e3,
                    plain.estimate * 1e3,
                    (ratio - 1.0) * 100.0
                );
                ratio
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios[REPEATS / 2];
        println!("{}: the middle estimate is {middle:.2} of what was saved", kind.name());
        assert!(middle > 0.0 && middle <= 1.0 + TOLERANCE, "{}: it promises {middle} of what was saved", kind.name());
    }
}
