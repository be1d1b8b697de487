//! Servers that accept first and set O_NONBLOCK then (PostgreSQL, Java NIO, asyncio), and those that keep blocking.

use std::time::Instant;

use sidestep::dataplane::Counter;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, back_and_forth, expect, pair, pattern, send};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::timeout;

/// More messages than a receiver that blocks gets before its pair leaves (`FIRST_MESSAGES` of `gate::endpoints`).
const MANY: usize = 20;

#[test]
fn a_server_that_stops_blocking_after_its_first_messages_is_accelerated() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let bytes = pattern(41, 300);
        for messages in 1..=3 {
            let listener = listen(ANY_PORT).unwrap();
            let (client, server) = pair(&listener, listener.local_addr().unwrap());
            server.set_nonblocking(false).unwrap();
            for _ in 0..messages {
                send(&client, &bytes);
            }
            server.set_nonblocking(true).unwrap();
            for _ in 0..messages {
                expect(&server, &bytes);
            }
            let before = acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
            back_and_forth(&client, &server, &bytes, 20);
            let counters = acceleration.snapshot().unwrap();
            let redirected = counters.get(Counter::RedirectedMessages) - before;
            assert!(redirected > 20, "{pairing:?}, {messages} messages: {redirected}: {}", describe(&counters));
            assert_eq!(counters.get(Counter::Unenrolled), 0, "{pairing:?}, {messages}: {}", describe(&counters));
            assert!(counters.get(Counter::PassBlocking) > 0, "{pairing:?}, {messages}: {}", describe(&counters));
        }
    }
}

/// A server that answers leaves at its first answer, one that only reads after a few messages.
#[test]
fn a_server_that_keeps_blocking_leaves() {
    let cgroups = NestedCgroups::new();
    for answers in [true, false] {
        for pairing in pairings() {
            let acceleration = cgroups.accelerate(pairing);
            let listener = listen(ANY_PORT).unwrap();
            let (client, server) = pair(&listener, listener.local_addr().unwrap());
            server.set_nonblocking(false).unwrap();
            let bytes = pattern(42, 300);
            let start = Instant::now();
            let mut messages = 0;
            while acceleration.snapshot().unwrap().get(Counter::Unenrolled) == 0 {
                send(&client, &bytes);
                expect(&server, &bytes);
                if answers {
                    send(&server, &bytes);
                    expect(&client, &bytes);
                }
                messages += 1;
                let counters = acceleration.snapshot().unwrap();
                assert!(start.elapsed() < timeout(), "{pairing:?}, {messages}: {}", describe(&counters));
            }
            assert!(messages <= MANY, "{pairing:?}, answers {answers}: it left after {messages} messages");
            let counters = acceleration.snapshot().unwrap();
            assert_eq!(counters.get(Counter::RedirectedMessages), 0, "{pairing:?}: {}", describe(&counters));
        }
    }
}
