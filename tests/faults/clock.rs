//! CLOCK_REALTIME jumps by days, as when a virtual machine wakes up or NTP finds out: no stream notices, nor does the
//! agent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use sidestep::testbed::{StackBytes, listen};

use crate::link::{ANY_PORT, Finish, back_and_forth, pattern};
use crate::machine;
use crate::nested::NestedCgroups;
use crate::run::{accelerated_pair, start};
use crate::support::agent::Said;
use crate::support::wait::timeout;

const DAY: i64 = 86_400;
/// Where the clock goes, in days from where it was; the last is years, as from a machine without a battery.
const STEPS: [i64; 6] = [1, -1, 3, -3, 0, 4_000];

/// The clock as it would be, if it had not been set.
struct Clock {
    real: TimeSpec,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { real: clock_gettime(ClockId::CLOCK_REALTIME).unwrap(), since: Instant::now() }
    }

    fn set(&self, days: i64) {
        let right = Duration::from(self.real) + self.since.elapsed();
        let seconds = right.as_secs() as i64 + days * DAY;
        clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, right.subsec_nanos().into())).unwrap();
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[test]
fn a_wall_clock_that_jumps_by_days_disturbs_nothing() {
    if !machine::is_ours("a wall clock that jumps") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let running = start(&cgroups, || Ok(()));
    let listener = listen(ANY_PORT).unwrap();
    let pairs = [100, 4_000, 100_000].map(|length| (accelerated_pair(&listener), pattern(length as u64, length)));
    let before: u64 = pairs.iter().map(|((client, _), _)| StackBytes::of(client).unwrap().sent).sum();
    let (done, rounds) = (AtomicBool::new(false), pairs.each_ref().map(|_| AtomicU64::new(0)));
    std::thread::scope(|threads| {
        let _finish = Finish(&done);
        for (((client, server), bytes), rounds) in pairs.iter().zip(&rounds) {
            let done = &done;
            threads.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    back_and_forth(client, server, bytes, 1);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let clock = Clock::new();
        for days in STEPS {
            let (wall, at) = (SystemTime::now(), rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed)));
            clock.set(days);
            // Half a day, since a day may lack the moment between the two readings of the clock.
            assert!(wall.elapsed().map_or(true, |passed| passed.as_secs() >= DAY as u64 / 2), "the clock did not jump");
            let start = Instant::now();
            // `Instant` is CLOCK_MONOTONIC. A few rounds each, and long enough for the agent to print counters.
            while start.elapsed() < Duration::from_millis(300)
                || rounds.iter().zip(at).any(|(rounds, at)| rounds.load(Ordering::Relaxed) < at + 3)
            {
                assert!(start.elapsed() < timeout(), "{days} days: a stream hangs: {rounds:?}, {at:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let sent: u64 =
        pairs.iter().zip(&rounds).map(|((_, bytes), n)| bytes.len() as u64 * n.load(Ordering::Relaxed)).sum();
    let stack: u64 = pairs.iter().map(|((client, _), _)| StackBytes::of(client).unwrap().sent).sum::<u64>() - before;
    eprintln!("{sent} bytes each way in {rounds:?} rounds, {stack} of them by the stack");
    assert!(stack < sent / 2, "the streams were no longer accelerated");
    let start = Instant::now();
    let Said { out, err } = running.stop();
    assert!(start.elapsed() < timeout(), "detaching took {:?}", start.elapsed());
    assert!(out.contains("nothing is left in the kernel") && err.is_empty(), "{out}\n{err}");
    for ((client, server), bytes) in &pairs {
        back_and_forth(client, server, bytes, 1);
    }
}
