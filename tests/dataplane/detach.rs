//! Detaching under traffic loses nothing and leaves nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidestep::agent::Acceleration;
use sidestep::dataplane::{Counter, MapRole};
use sidestep::syscall::id;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, Finish, expect, expect_end, pair, pattern, send};
use crate::nested::{NestedCgroups, pairings};
use crate::support::wait::{timeout, wait_for, wait_until};

/// The kernel's numbers for the programs and maps of an acceleration.
fn objects(acceleration: &Acceleration) -> (Vec<u32>, Vec<u32>) {
    let loaded = acceleration.loaded();
    let programs = [Some(&loaded.sock_ops), Some(&loaded.dispatcher), Some(&loaded.sk_msg), loaded.drain.as_ref()];
    let programs = programs.into_iter().flatten().map(|program| program.info().unwrap().id).collect();
    (programs, MapRole::ALL.iter().map(|role| loaded.map(*role).info().unwrap().id).collect())
}

/// Which of them still exist: walks everything the kernel has.
fn still_there((programs, maps): &(Vec<u32>, Vec<u32>)) -> Vec<u32> {
    let programs = id::ids(id::Kind::Prog).map(Result::unwrap).filter(|id| programs.contains(id));
    programs.chain(id::ids(id::Kind::Map).map(Result::unwrap).filter(|id| maps.contains(id))).collect()
}

#[test]
fn detach_under_traffic_loses_nothing_and_leaves_nothing() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let objects = objects(&acceleration);
        assert_eq!(still_there(&objects).len(), 4 + MapRole::ALL.len(), "four programs and the maps");
        let listener = listen(ANY_PORT).unwrap();
        let to = listener.local_addr().unwrap();
        let pairs: Vec<_> = (0..16).map(|_| pair(&listener, to)).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let _stop_on_panic = Finish(&stop);
            for (seed, (client, server)) in pairs.iter().enumerate() {
                let stop = &stop;
                let rounds = threads.spawn(move || {
                    let mut rounds = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // Ahead of the reader by up to a few messages, so that queues hold something at any moment.
                        for part in 0..4 {
                            send(client, &pattern(seed as u64 * 1_000_000 + rounds * 4 + part, 900));
                        }
                        rounds += 1;
                    }
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                    rounds
                });
                threads.spawn(move || {
                    // The writer's rounds are known only at the end, so read by the pattern until the end.
                    let mut message = 0;
                    loop {
                        let mut first = [0];
                        crate::link::wait(server, nix::poll::PollFlags::POLLIN);
                        if server.peek(&mut first).unwrap() == 0 {
                            break;
                        }
                        expect(server, &pattern(seed as u64 * 1_000_000 + message, 900));
                        message += 1;
                    }
                    expect_end(server);
                    assert_eq!(message, rounds.join().unwrap() * 4, "messages lost");
                });
            }
            // Time for what comes after the first messages, too.
            std::thread::sleep(Duration::from_millis(300));
            let redirected = || acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
            wait_until("messages are redirected", || redirected() > 0);
            assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
        });
        drop(pairs);
        // The kernel frees psocks, and with them the last references, from a work queue.
        wait_for(|| match still_there(&objects) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("still in the kernel: {some:?}")),
        });
    }
}
