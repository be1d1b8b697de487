//! The kernel's bound for all TCP sockets (net.ipv4.tcp_mem) is reached: plain TCP waits, and so do accelerated
//! connections, whose messages take the stack.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::machine::{self, Setting};
use crate::nested::{NestedCgroups, describe};
use crate::pressure::streams;
use crate::support::wait::timeout;

/// Pages: pressure begins at the second number, and the third is 14 MiB, of what [`streams`] would like 16 and more of. A
/// sender may be preempted between its verdict and the charge, in a guest for 100 ms, in which the others must not get from
/// calm to refusal: with 4 MiB between the last two numbers they did at times (docs/explanation/failure-modes.md).
const SMALL: &str = "512 1024 3584";
const CALM: u64 = 512;
const PRESSURE: u64 = 1024;

#[test]
fn streams_go_on_when_all_of_tcp_has_too_little_memory() {
    if !machine::is_ours("a small net.ipv4.tcp_mem") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let _small = Setting::new("net/ipv4/tcp_mem", SMALL);
    // Plain first, so that a difference is ours.
    streams("plain");
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    streams("accelerated");
    let counters = acceleration.snapshot().unwrap();
    assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
}

#[test]
fn messages_take_the_stack_while_others_hold_its_memory() {
    if !machine::is_ours("a small net.ipv4.tcp_mem") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let _small = Setting::new("net/ipv4/tcp_mem", SMALL);
    let listener = listen(ANY_PORT).unwrap();
    // Older than the data plane, so that what they hold is the stack's.
    let others = hold_memory(&listener);
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let bytes = pattern(10, 300);
    back_and_forth(&client, &server, &bytes, 20);
    let counters = acceleration.snapshot().unwrap();
    assert!(counters.get(Counter::PassPressure) > 0, "{}", describe(&counters));
    let before = counters.get(Counter::RedirectedMessages);
    drop(others);
    // The kernel takes back what they held when their last packets have been answered, and ends the pressure when a socket
    // asks for more while TCP has less than the first number (__sk_mem_raise_allocated, net/core/sock.c).
    let start = Instant::now();
    while allocated() > CALM {
        assert!(start.elapsed() < timeout(), "TCP still has {} pages", allocated());
        std::thread::sleep(Duration::from_millis(20));
    }
    let more = pattern(12, 20_000);
    while acceleration.snapshot().unwrap().get(Counter::RedirectedMessages) == before {
        assert!(
            start.elapsed() < timeout(),
            "not redirected any more, with {} pages: {}",
            allocated(),
            describe(&acceleration.snapshot().unwrap())
        );
        back_and_forth(&client, &server, &more, 1);
        back_and_forth(&client, &server, &bytes, 1);
    }
}

/// Connections whose receivers do not read, as many as it takes for pressure to begin.
fn hold_memory(listener: &TcpListener) -> Vec<(TcpStream, TcpStream)> {
    let bytes = pattern(11, 65_536);
    let short = || allocated() < PRESSURE * 5 / 4;
    let mut held = Vec::new();
    while short() {
        assert!(held.len() < 64, "64 connections hold {} pages only", allocated());
        let (mut client, server) = pair(listener, listener.local_addr().unwrap());
        while short() && client.write(&bytes).is_ok() {}
        held.push((client, server));
    }
    held
}

/// Pages that TCP has.
fn allocated() -> u64 {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: ")).unwrap();
    line.split(' ').skip_while(|word| *word != "mem").nth(1).unwrap().parse().unwrap()
}
