//! What `survey --calibrate` says that acceleration saves, and what it does save.
//!
//! Other work on the machine must not decide. So processor time is measured and not time; plain and accelerated connections take turns,
//! each some milliseconds long, of which the median counts; and turns are added until two halves of them agree.

use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use sidestep::bench::calibrate;
use sidestep::dataplane::{Counter, Pairing};
use sidestep::observe::{Costs, Observer, Processes, Ruling, Survey};
use sidestep::testbed::listen;

use crate::support::link::{ANY_PORT, expect, pair, pattern, send};
use crate::support::machine::is_guest;
use crate::support::nested::NestedCgroups;

/// How far the estimate may be off.
const TOLERANCE: f64 = 0.3;
const SIZES: [usize; 3] = [128, 1024, 4096];
const CALIBRATIONS: usize = 5;
/// Round trips of a turn, and turns of each kind between two looks at their spread.
const ROUNDS: u32 = 100;
const TURNS: usize = 60;
/// How often the costs and what is saved are measured together until they agree: the machine may have changed its pace between.
const MEASUREMENTS: usize = 3;
/// How far two halves of the turns may differ in what was saved, and how often turns are added until they do not.
const SPREAD: f64 = 0.1;
const TRIES: usize = 20;

/// Processor time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Turns of requests and answers of `size` bytes between two threads that wait for each other, on one connection and on the other:
/// nanoseconds of processor time that a round trip took both threads.
fn turns(connections: [&(TcpStream, TcpStream); 2], size: usize) -> Vec<[f64; 2]> {
    let (bytes, barrier) = (pattern(1, size), Barrier::new(2));
    let run = |is_client: bool| -> Vec<[Duration; 2]> {
        let turn = |(client, server): &(TcpStream, TcpStream)| {
            barrier.wait();
            let before = cpu_time();
            for _ in 0..ROUNDS {
                if is_client {
                    send(client, &bytes);
                    expect(client, &bytes);
                } else {
                    expect(server, &bytes);
                    send(server, &bytes);
                }
            }
            cpu_time() - before
        };
        (0..TURNS).map(|_| connections.map(turn)).collect()
    };
    let (clients, servers) = std::thread::scope(|scope| {
        let server = scope.spawn(|| run(false));
        (run(true), server.join().unwrap())
    });
    let each = |took: Duration| took.as_nanos() as f64 / f64::from(ROUNDS);
    clients.into_iter().zip(servers).map(|(client, server)| [0, 1].map(|at| each(client[at] + server[at]))).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a round trip saved, by these turns.
fn saved<'a>(turns: impl Iterator<Item = &'a [f64; 2]> + Clone) -> f64 {
    median(turns.clone().map(|turn| turn[0])) - median(turns.map(|turn| turn[1]))
}

/// This thread, and those that it starts, on one CPU, until this goes: on several, what waiting costs depends on what else runs.
struct OneCpu(CpuSet);

impl OneCpu {
    fn new() -> Self {
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpu = (0..CpuSet::count()).rfind(|cpu| all.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(cpu).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        Self(all)
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

#[test]
fn the_estimate_is_near_what_is_saved() {
    if is_guest() {
        eprintln!("\n*** the estimate of survey --calibrate: NOT TESTED: the processor is emulated here ***\n");
        return;
    }
    let cgroups = NestedCgroups::new();
    let _cpu = OneCpu::new();
    let mut misses = Vec::new();
    while let Err(miss) = measure(&cgroups) {
        println!("{miss}");
        misses.push(miss);
        assert!(misses.len() < MEASUREMENTS, "{misses:?}");
    }
}

/// Measures the costs and then, with each size, what is saved; what the first one says whose estimate is too far off.
fn measure(cgroups: &NestedCgroups) -> Result<(), String> {
    cgroups.leave();
    let costs: Vec<Costs> = (0..CALIBRATIONS).map(|_| calibrate().unwrap()).collect();
    cgroups.enter();
    let (listener, observer) = (listen(ANY_PORT).unwrap(), Observer::new().unwrap());
    let plain = pair(&listener, listener.local_addr().unwrap());
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let accelerated = pair(&listener, listener.local_addr().unwrap());
    let look = || {
        let mut observed = observer.look().unwrap();
        let local = plain.0.local_addr().unwrap();
        observed.connections.local.retain(|one| one.client.local == local);
        assert_eq!(observed.connections.local.len(), 1, "the plain connection is seen");
        observed
    };
    for size in SIZES {
        let (before, start, redirected) = (look(), Instant::now(), acceleration.snapshot().unwrap());
        let mut all = Vec::new();
        let (saved_ns, apart) = (0..TRIES)
            .map(|_| {
                all.extend(turns([&plain, &accelerated], size));
                let halves = [0, 1].map(|half| saved(all.iter().skip(half).step_by(2)));
                let whole = saved(all.iter());
                (whole, (halves[0] - halves[1]).abs() / whole.abs())
            })
            .find(|(_, apart)| *apart <= SPREAD)
            .ok_or_else(|| format!("{size} B: after {TRIES} tries the turns still differ by more than {SPREAD}"))?;
        let (after, elapsed) = (look(), start.elapsed());
        let round_trips = all.len() as f64 * f64::from(ROUNDS);
        let redirected = acceleration.snapshot().unwrap().get(Counter::RedirectedMessages)
            - redirected.get(Counter::RedirectedMessages);
        assert!(redirected as f64 > round_trips * 2.0 * 0.9, "{size} B: {redirected} messages redirected");
        let estimates = costs.iter().map(|costs| {
            let processes = &mut Processes::default();
            let mut survey = Survey::between(&before, &after, elapsed, processes, |_, _| Ruling::default());
            survey.estimate(costs.clone());
            survey.saved_cpus.unwrap() * survey.seconds * 1e9 / round_trips
        });
        let estimate = median(estimates);
        let ratio = estimate / saved_ns;
        println!(
            "{size} B: saved {saved_ns:.0} ns a round trip ({} turns, halves {:.0} % apart), estimated {estimate:.0} ns: {ratio:.2}",
            all.len(),
            apart * 100.0
        );
        if (ratio - 1.0).abs() > TOLERANCE {
            return Err(format!("{size} B: the estimate is {ratio} of what was saved"));
        }
    }
    Ok(())
}
