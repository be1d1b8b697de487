//! What the metrics say of pods and of the runtime.

use std::net::SocketAddr;

use crate::fetch::{get, sum};
use crate::fixture::Fixture;
use crate::sandbox::{Driver, TestPod};
use crate::support::wait::wait_for;

const REFERENCE: &str = include_str!("../../docs/reference/metrics.md");

const STATES: [&str; 6] = ["accelerated", "leaving", "opted_out", "not_opted_in", "refused", "not_selected"];

/// The pods by their states, in the order of [`STATES`]; whether the runtime answers; how often it has answered again.
fn shown(text: &str) -> ([f64; 6], f64, f64) {
    let pods = STATES.map(|state| sum(text, &format!("sidestep_pods{{state=\"{state}\"}}")));
    (pods, sum(text, "sidestep_runtime_up"), sum(text, "sidestep_runtime_reconnects_total"))
}

/// Waits until the metrics say so; all of them. A runtime on a busy machine may have been away more often than the test made it.
#[track_caller]
fn wait_until_shown(address: SocketAddr, wanted: ([f64; 6], f64, f64)) -> String {
    wait_for(|| {
        let text = get(address, "/metrics", "").1;
        let (pods, up, again) = shown(&text);
        if (pods, up) == (wanted.0, wanted.1) && again >= wanted.2 {
            Ok(text)
        } else {
            Err(format!("{wanted:?} is not what this says:\n{text}"))
        }
    })
}

#[test]
fn metrics_say_what_has_become_of_each_pod_and_how_the_runtime_is() {
    let mut fixture = Fixture::new();
    let pod = |fixture: &mut Fixture, name, annotation| {
        let mut pod = TestPod::new(&mut fixture.runtime, name, Driver::Cgroupfs, annotation);
        pod.start(&mut fixture.runtime);
        pod
    };
    let mut yes = pod(&mut fixture, "yes", Some("true"));
    let _others = [("no", Some("false")), ("silent", None), ("wrong", Some("yes")), ("foreign", Some("true"))]
        .map(|(name, annotation)| pod(&mut fixture, name, annotation));
    let run = fixture.run(&["--pods", "label:app!=foreign", "--metrics", "127.0.0.1:0"]);
    fixture.accelerates(&[&yes]);
    let address = run.said.split_once("http://").unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let text = wait_until_shown(address, ([1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1.0, 0.0));
    assert_eq!(sum(&text, "sidestep_runtime_errors_total"), 0.0, "{text}");
    for family in ["pods", "runtime_up", "runtime_errors_total", "runtime_reconnects_total"] {
        assert!(REFERENCE.contains(&format!("`sidestep_{family}`")), "docs/reference/metrics.md lacks {family}");
    }

    fixture.runtime.pause();
    let text = wait_until_shown(address, ([1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 0.0, 0.0));
    assert!(sum(&text, "sidestep_runtime_errors_total") >= 1.0, "{text}");
    fixture.runtime.go_on();
    wait_until_shown(address, ([1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1.0, 1.0));
    yes.recreate(&mut fixture.runtime, Some("false"));
    wait_until_shown(address, ([0.0, 0.0, 2.0, 1.0, 1.0, 1.0], 1.0, 1.0));
    fixture.leave();
    run.stop();
    fixture.is_gone();
}
