//! A proxy of our own that splices, between a client and a server that do not.

use std::time::{Duration, Instant};

use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::link::free_port;
use crate::support::machine::require_root;
use crate::support::wait::scaled;

/// Times that the client comes, to a process that has spliced, or to a new one.
const RUNS: usize = 3;

/// Sends clients through a proxy; the exit status of each.
fn clients(place: &Place, reading: &str, same_process: bool) -> Vec<bool> {
    let [front, back] = [free_port(), free_port()];
    let _echo = start(place.cgroup(), &format!("echo {back}"));
    let proxy = || start(place.cgroup(), &format!("proxy {front} {back} {reading}"));
    let mut now = proxy();
    let mut all = Vec::new();
    for _ in 0..RUNS {
        all.push(start(place.cgroup(), &format!("drive {front}")).wait().unwrap().success());
        if !same_process {
            drop(now);
            now = proxy();
        }
    }
    all
}

fn every_byte_arrives(test: &str, reading: &str) {
    if !require_root(test) {
        return;
    }
    for same_process in [true, false] {
        let place = Place::new();
        let running = place.run(&[]);
        let done = clients(&place, reading, same_process);
        let said = running.stop();
        assert_eq!(done, vec![true; RUNS], "{reading}, same process: {same_process}");
        if readers_are_seen(&format!("{test}: that it is seen to splice")) {
            assert!(said.err.contains("reads with splice(2)"), "sidestep has not seen the proxy splice");
            assert!(place.remembered().contains("splice"), "nothing is remembered");
        } else {
            assert!(said.err.contains("nothing is accelerated"), "{}", said.err);
            assert_eq!(said.counter("redirected_messages"), 0);
        }
    }
}

#[test]
fn a_splicing_proxy_gets_every_byte() {
    every_byte_arrives("a_splicing_proxy_gets_every_byte", "splice");
}

#[test]
fn a_proxy_that_receives_a_request_first_gets_every_byte() {
    every_byte_arrives("a_proxy_that_receives_a_request_first_gets_every_byte", "receive-first:1");
}

#[test]
fn a_proxy_that_receives_all_small_messages_gets_every_byte() {
    every_byte_arrives("a_proxy_that_receives_all_small_messages_gets_every_byte", "receive-first:10");
}

#[test]
fn a_proxy_that_alternates_gets_every_byte() {
    every_byte_arrives("a_proxy_that_alternates_gets_every_byte", "alternate");
}

/// What the tests above would see without the programs that watch readers.
#[test]
fn trusting_everybody_loses_bytes() {
    if !require_root("trusting_everybody_loses_bytes") {
        return;
    }
    let place = Place::new();
    let running = place.run(&["--trust", "all"]);
    let [front, back] = [free_port(), free_port()];
    let _echo = start(place.cgroup(), &format!("echo {back}"));
    let _proxy = start(place.cgroup(), &format!("proxy {front} {back} splice"));
    // A transfer takes less than a second, so what a client does not have after five it does not get.
    let limit = scaled(Duration::from_secs(5));
    let served = || {
        let (mut client, begun) = (start(place.cgroup(), &format!("drive {front}")), Instant::now());
        loop {
            match client.try_wait().unwrap() {
                Some(status) => return status.success(),
                None if begun.elapsed() > limit => return false,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    };
    let lost = (0..RUNS).any(|_| !served());
    running.stop();
    assert!(lost, "a splicing proxy lost nothing, so these tests show nothing");
}
