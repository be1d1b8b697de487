//! sidestep comes and goes while load runs: no request fails.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde_json::Value;
use sidestep::dataplane::{Counter, Pairing};

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh};
use crate::support::link::Finish;
use crate::support::wait::{timeout, wait_until};
use crate::up;

/// Runs `work` while clients ask, on kept and on short connections; how many answers they got, all of them right.
pub(crate) fn under_load(mesh: &Mesh, kind: Kind, work: impl FnOnce() + Send) -> u64 {
    let (ended, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let enough = |_| ended.load(Ordering::Relaxed);
    let load = Load { target: mesh.service, protocol: kind.protocol(), connections: 4, short: false };
    mesh.in_client_pod(|| {
        scope(|threads| {
            let clients = [false, true].map(|short| {
                // Threads are born into the namespace of the one that starts them.
                let answers = &answers;
                threads.spawn(move || {
                    let latencies = Client::new(Load { short, ..load })?.run(enough)?;
                    answers.fetch_add(latencies.len() as u64, Ordering::Relaxed);
                    Ok::<_, std::io::Error>(())
                })
            });
            let finish = Finish(&ended);
            work();
            drop(finish);
            for client in clients {
                client.join().unwrap().unwrap();
            }
        });
    });
    answers.into_inner()
}

fn comes_and_goes(kind: Kind) {
    let Some(mesh) = up(kind, &[]) else { return };
    let mut redirected = 0;
    let answers = under_load(&mesh, kind, || {
        for pairing in [Pairing::Sequence, Pairing::FourTuple, Pairing::Sequence] {
            sleep(Duration::from_millis(200));
            let acceleration = mesh.accelerate(pairing);
            sleep(Duration::from_millis(500));
            let now = || acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
            wait_until("messages are redirected", || now() > 100);
            redirected += now();
            assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
        }
        sleep(Duration::from_millis(200));
    });
    println!("{}: {answers} answers, {redirected} messages redirected", kind.name());
    assert!(answers > 100, "{}: {answers} answers", kind.name());
}

#[test]
fn no_request_fails_while_sidestep_comes_and_goes() {
    comes_and_goes(Kind::Http);
    comes_and_goes(Kind::Haproxy);
}

/// Runs the binary, with its pins in the mesh's own bpf file system.
fn output(mesh: &Mesh, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(arguments).arg("--bpffs").arg(mesh.directory().join("bpffs")).output().unwrap()
}

/// What a command of the binary says, which must succeed.
fn sidestep(mesh: &Mesh, arguments: &[&str]) -> String {
    let output = output(mesh, arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Messages that the live programs have redirected. `status` may say by its exit status that something is wrong with the
/// machine, or with what other tests have attached.
fn redirected(mesh: &Mesh) -> u64 {
    let output = output(mesh, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let generations = status["instances"][0]["generations"].as_array().unwrap();
    let live = generations.iter().find(|generation| generation["live"] == true).unwrap();
    let counters = live["counters"].as_array().unwrap();
    let counter = counters.iter().find(|counter| counter[0] == Counter::RedirectedMessages.name());
    counter.map_or(0, |counter| counter[1].as_u64().unwrap())
}

#[test]
fn no_request_fails_while_sidestep_is_attached_upgraded_and_detached() {
    let Some(mesh) = up(Kind::Http, &[]) else { return };
    let group = mesh.cgroup().path().to_str().unwrap().to_owned();
    let mut seen = Vec::new();
    let answers = under_load(&mesh, Kind::Http, || {
        for (verb, flags, answer) in [
            ("attach", &[][..], "attached"),
            ("upgrade", &["--readers", "any"], "programs replaced"),
            ("upgrade", &["--pairing", "four-tuple"], "maps and programs replaced"),
            ("upgrade", &["--pairing", "sequence"], "maps and programs replaced"),
            ("detach", &[], "detached; nothing is left"),
            ("attach", &["--pairing", "four-tuple"], "attached"),
            ("detach", &[], "detached; nothing is left"),
        ] {
            let trust: &[&str] = if verb == "detach" { &[] } else { &["--trust", "all"] };
            let said = sidestep(&mesh, &[&[verb, "--cgroup", group.as_str()], flags, trust].concat());
            assert!(said.contains(answer), "{verb} {flags:?}: {said}");
            sleep(Duration::from_millis(300));
            if verb != "detach" {
                let before = redirected(&mesh);
                sleep(Duration::from_millis(200));
                wait_until("messages are redirected", || redirected(&mesh) > before);
                seen.push((verb, flags, redirected(&mesh) - before));
            }
        }
    });
    println!("{answers} answers; messages redirected after each, in 200 ms or until there was one: {seen:?}");
    assert!(answers > 100, "{answers} answers, {seen:?}");
}
