//! Real servers in an accelerated cgroup: nginx, which trusts FIONREAD, and HAProxy in front of it, without splice(2) and
//! with it on ports that are left alone; and those of which pairs may stay: Redis, PostgreSQL and Python's asyncio. Needs root, nginx
//! (1.17.5 or later) and the others; without one of them it says so, and fails in CI.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at the line that failed")]

mod client;
mod postgres;
mod server;
mod staying;
#[allow(dead_code, reason = "each test binary uses a part of what they share")]
#[path = "../support/mod.rs"]
mod support;

use sidestep::agent::{Acceleration, Snapshot, TierChoice, check, choose_tier};
use sidestep::dataplane::{Counter, Options, Pairing, Policy, PortRange, Readers, Streams};

use client::Exchange;
use server::{Server, installed};
use support::cgroup::{Home, TestCgroup};
use support::feature::Feature;
use support::link::free_port;
use support::machine::{Turn, is_guest};
use support::wait::timeout;

/// What every server is asked, one after the other on one connection: bytes of request header and body, and of the
/// response. Headers above 1 KiB do not fit nginx's first buffer, bodies above 16 KiB not its second.
const EXCHANGES: [Exchange; 6] = [
    Exchange { header: 0, body: 0, response: 100 },
    Exchange { header: 3000, body: 0, response: 100 },
    Exchange { header: 7000, body: 500_000, response: 100 },
    Exchange { header: 0, body: 0, response: 3_000_000 },
    Exchange { header: 1500, body: 3_000_000, response: 3_000_000 },
    Exchange { header: 0, body: 1, response: 1 },
];

/// A response that is larger than what may be redirected at once, and than all buffers of the stack behind it.
const STREAM: Exchange = Exchange { header: 0, body: 0, response: 40_000_000 };

/// Runs `work` with this process in a cgroup of its own, and sidestep on it; the counters afterwards. `name` says which servers.
fn accelerated(name: &str, policy: Policy, work: impl FnOnce()) -> Snapshot {
    let _turn = Turn::take();
    let (group, home) = (TestCgroup::new(), Home::new());
    let (tier, _) = choose_tier(TierChoice::Auto).unwrap();
    let options = Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy };
    let acceleration = Acceleration::start(&group, options, check::configuration().unwrap()).unwrap();
    group.enter(0).unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    home.enter();
    let counters = acceleration.snapshot().unwrap();
    acceleration.stop(timeout()).unwrap();
    if let Err(panic) = outcome {
        // In the message itself: a summary of many tests shows one line of each failure.
        let what = panic.downcast_ref::<String>().map_or("", String::as_str);
        let counted = counters.iter().filter(|(_, value)| *value > 0);
        let counted: Vec<_> = counted.map(|(counter, value)| format!("{} {value}", counter.name())).collect();
        panic!("{name}: {what}; {}", counted.join(" "));
    }
    counters
}

/// [`accelerated`], where something must go past the stack.
fn served(name: &str, policy: Policy, work: impl FnOnce()) {
    let counters = accelerated(name, policy, work);
    println!(
        "{name}: {} bytes past the stack, {} of the same sockets by the stack",
        counters.get(Counter::RedirectedBytes),
        counters.get(Counter::PassedBytes)
    );
    assert!(counters.get(Counter::RedirectedMessages) > 0, "{name}: nothing was accelerated");
}

/// The servers one after the other: each moves this whole process between cgroups.
#[test]
fn servers_answer_every_byte() {
    if !installed(&["nginx", "haproxy"]) {
        return;
    }
    served("nginx", Policy::default(), nginx_alone);
    served("haproxy", Policy::default(), behind_haproxy);
    // What nginx asks of itself behind them is accelerated.
    let ports = [free_port(), free_port()];
    let excluded_ports = ports.map(|port| PortRange { first: port, last: port }).to_vec();
    let policy = Policy { excluded_ports, ..Policy::default() };
    let (name, work) = ("splicing haproxy", || behind_splicing_haproxy(ports));
    if check::configuration().unwrap().spare_askers {
        // nginx is left alone altogether, since it asks FIONREAD.
        accelerated(name, policy, work);
    } else {
        served(name, policy, work);
    }
}

fn nginx_alone() {
    let nginx = Server::nginx();
    for _ in 0..20 {
        client::run(nginx.port, &EXCHANGES);
    }
}

/// nginx as a proxy, which is edge-triggered and asks FIONREAD, where streams may stay in the sockhash.
#[test]
fn servers_stream_every_byte_where_streams_may_stay() {
    if !installed(&["nginx", "haproxy"]) {
        return;
    }
    for streams in [Streams::Stay, Streams::Auto] {
        let policy = Policy { streams, ..Policy::default() };
        served("nginx", policy.clone(), || stream_through(Server::nginx()));
        served("haproxy", policy, || {
            let nginx = Server::nginx();
            stream_through(Server::haproxy(nginx.port));
        });
    }
}

/// Requests and answers, and then streams.
fn stream_through(server: Server) {
    let exchanges: Vec<_> = EXCHANGES.into_iter().chain([STREAM; 2]).collect();
    for _ in 0..2 {
        client::run(server.port, &exchanges);
    }
}

/// Sockets that get kTLS: by OpenSSL, which sets TCP_ULP before its handshake.
#[test]
fn servers_with_ktls_answer_every_byte() {
    if !installed(&["nginx"]) {
        return;
    }
    let before = ktls_sockets();
    let counters = accelerated("nginx with kTLS", Policy::default(), || {
        let nginx = Server::nginx_with_ktls();
        for _ in 0..2 {
            client::run(nginx.port, &EXCHANGES);
        }
    });
    let [sending, receiving] = ktls_sockets();
    println!(
        "nginx with kTLS: {} sockets that send by it, {} that receive; {} pairs left",
        sending - before[0],
        receiving - before[1],
        counters.get(Counter::Unenrolled)
    );
    if Feature::KernelTls.required("nginx with kTLS") && is_guest() {
        assert!(sending > before[0] && receiving > before[1], "no socket has kTLS, so nothing was tested");
    }
}

/// How many sockets of this network namespace have had kTLS to send and to receive.
fn ktls_sockets() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    ["TlsTxSw", "TlsRxSw"].map(|name| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    })
}

fn behind_haproxy() {
    let nginx = Server::nginx();
    let haproxy = Server::haproxy(nginx.port);
    for _ in 0..20 {
        client::run(haproxy.port, &EXCHANGES);
    }
}

fn behind_splicing_haproxy([front, back]: [u16; 2]) {
    let nginx = Server::nginx_on(back);
    let haproxy = Server::splicing_haproxy(front, nginx.port);
    for _ in 0..10 {
        client::run(haproxy.port, &EXCHANGES);
    }
    assert!(haproxy.spliced() > 10_000_000, "HAProxy spliced only {} bytes", haproxy.spliced());
}
