//! sidestep comes and goes while load runs: no request fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use sidestep::dataplane::{Counter, Pairing};

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh};
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
            work();
            ended.store(true, Ordering::Relaxed);
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
            redirected += acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
            assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
        }
        sleep(Duration::from_millis(200));
    });
    println!("{}: {answers} answers, {redirected} messages redirected", kind.name());
    assert!(answers > 100 && redirected > 100, "{}: {answers} answers, {redirected} redirected", kind.name());
}

#[test]
fn no_request_fails_while_sidestep_comes_and_goes() {
    comes_and_goes(Kind::Http);
    comes_and_goes(Kind::Haproxy);
}
