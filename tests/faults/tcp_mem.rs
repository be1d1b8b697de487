//! The kernel's bound for all TCP sockets (net.ipv4.tcp_mem) is reached: plain TCP waits, and so do accelerated
//! connections, whose messages take the stack.

use sidestep::dataplane::{Counter, Pairing};

use crate::guest::{self, Setting};
use crate::pressure::streams;
use crate::scope::{Scope, describe};

/// Pages: pressure begins at the second number, and the third is 8 MiB, of what [`streams`] would like 16 of. The kernel
/// counts what each CPU has taken only when that is 256 pages (net.core.mem_pcpu_rsv), so with less between the last two
/// it would go from calm to refusal in one step.
const SMALL: &str = "512 1024 2048";

#[test]
fn streams_go_on_when_all_of_tcp_has_too_little_memory() {
    if !guest::is_ours("a small net.ipv4.tcp_mem") {
        return;
    }
    let scope = Scope::new();
    let _small = Setting::new("net/ipv4/tcp_mem", SMALL);
    // Plain first, so that a difference is ours.
    streams("plain");
    let acceleration = scope.accelerate(Pairing::Sequence);
    streams("accelerated");
    let counters = acceleration.snapshot().unwrap();
    eprintln!("{}", describe(&counters));
    assert!(counters.get(Counter::PassPressure) > 0, "{}", describe(&counters));
    assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
}
