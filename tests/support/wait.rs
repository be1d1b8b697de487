//! Waiting for a state, never for a time.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::machine;

/// Between two looks at the state.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long anything may take before it counts as hung; see [`scaled`]. Only a test that fails waits so long. A machine with many
/// more busy processes than CPUs has delayed ready processes by many seconds.
pub(crate) fn timeout() -> Duration {
    scaled(Duration::from_secs(60))
}

/// A limit on time for this machine: an emulated guest of the kernel matrix, two of which share a CPU of the host, gets three
/// times as long.
pub(crate) fn scaled(limit: Duration) -> Duration {
    if machine::is_guest() { limit * 3 } else { limit }
}

/// Looks until there is a value; panics with the last error when it takes longer than [`timeout`].
#[track_caller]
pub(crate) fn wait_for<T, E: Display>(look: impl FnMut() -> Result<T, E>) -> T {
    wait_within(timeout(), look)
}

/// [`wait_for`] with another limit, which is taken as it is.
#[track_caller]
pub(crate) fn wait_within<T, E: Display>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(error) if start.elapsed() > limit => panic!("after {:.1} s: {error}", start.elapsed().as_secs_f64()),
            Err(_) => sleep(POLL_INTERVAL),
        }
    }
}

/// Waits until `holds`, which `what` says in words.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(|| if holds() { Ok(()) } else { Err(format!("it does not come about that {what}")) });
}

#[test]
fn a_state_that_comes_about_is_waited_for() {
    let mut looks = 0;
    let seen = wait_for(|| {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err("not yet") }
    });
    assert_eq!(seen, 3);
}

#[test]
#[should_panic(expected = "never comes about")]
fn a_state_that_does_not_come_about_is_an_error() {
    wait_within(Duration::ZERO, || Err::<(), _>("it never comes about"));
}
