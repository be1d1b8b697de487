//! What `survey --calibrate` says that acceleration saves, and what it does save. It measures, so it does not run by itself:
//! `cargo test --release --test sockets estimate -- --ignored --nocapture` on a machine that does nothing else.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use sidestep::bench::calibrate;
use sidestep::dataplane::{Counter, Pairing};
use sidestep::observe::{Observer, Processes, Ruling, Survey};
use sidestep::testbed::listen;

use crate::support::link::{ANY_PORT, expect, pair, pattern, send};
use crate::support::nested::NestedCgroups;

/// How far the estimate may be off.
const TOLERANCE: f64 = 0.3;
const REPEATS: usize = 5;
const ROUNDS: u32 = 30_000;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// Requests and answers of `size` bytes between two threads that wait for each other; the CPU time of both.
fn ping_pong((client, server): &(TcpStream, TcpStream), size: usize) -> Duration {
    let bytes = pattern(1, size);
    let before = cpu_time();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                expect(server, &bytes);
                send(server, &bytes);
            }
        });
        for _ in 0..ROUNDS {
            send(client, &bytes);
            expect(client, &bytes);
        }
    });
    cpu_time() - before
}

#[test]
#[ignore = "it measures, for which the machine has to be quiet; docs/results has what it said"]
fn the_estimate_is_near_what_is_saved() {
    let cgroups = NestedCgroups::new();
    let (listener, observer) = (listen(ANY_PORT).unwrap(), Observer::new().unwrap());
    let look = || {
        let mut observed = observer.look().unwrap();
        observed.connections.local.retain(|one| one.client.pid == std::process::id());
        observed
    };
    for size in [128, 1024, 4096] {
        let mut ratios: Vec<f64> = (0..REPEATS)
            .map(|_| {
                let costs = calibrate().unwrap();
                cgroups.enter();
                let connection = pair(&listener, listener.local_addr().unwrap());
                let (before, start) = (look(), Instant::now());
                let plain = ping_pong(&connection, size);
                let (after, elapsed) = (look(), start.elapsed());
                let mut survey =
                    Survey::between(&before, &after, elapsed, &mut Processes::default(), |_, _| Ruling::default());
                survey.estimate(costs);
                let estimate = survey.saved_cpus.unwrap() * survey.seconds;
                drop(connection);
                let acceleration = cgroups.accelerate(Pairing::Sequence);
                let connection = pair(&listener, listener.local_addr().unwrap());
                let accelerated = ping_pong(&connection, size);
                let redirected = acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
                assert!(redirected > u64::from(ROUNDS) * 2 * 9 / 10, "{redirected} messages redirected");
                drop(acceleration);
                let saved = plain.as_secs_f64() - accelerated.as_secs_f64();
                println!(
                    "{size} B: plain {:.0} ms, accelerated {:.0} ms, saved {:.0} ms; estimated {:.0} ms: {:+.0} %",
                    plain.as_secs_f64() * 1e3,
                    accelerated.as_secs_f64() * 1e3,
                    saved * 1e3,
                    estimate * 1e3,
                    (estimate / saved - 1.0) * 100.0
                );
                estimate / saved
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios[REPEATS / 2];
        assert!((middle - 1.0).abs() <= TOLERANCE, "{size} B: the estimate is {middle} of what was saved");
    }
}
