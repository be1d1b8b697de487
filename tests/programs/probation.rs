//! How long a new server is on probation, in ordinary traffic: one connection of a new client.

use crate::cases::{go, nginx, python_client, python_server};
use crate::fixture::Fixture;
use crate::{alone, tools};

/// Runs of each server; the median is printed.
const RUNS: usize = 5;
/// Requests a second; 0: one after the other.
const RATES: [&str; 2] = ["0", "200"];
/// Well under a second, in milliseconds.
const LONGEST: f64 = 800.0;

/// A server, how it is started, and what is asked of it.
struct Server {
    name: &'static str,
    needs: &'static str,
    start: fn(&Fixture) -> Result<(), String>,
    path: &'static str,
}

const SERVERS: [Server; 4] = [
    Server {
        name: "Go net/http",
        needs: "go",
        start: |fixture| {
            let (binary, content) = (go(fixture)?, fixture.path("content"));
            fixture.serve(&[&binary, "server", "127.0.0.1:8000", &content], 8000)
        },
        path: "/bytes/100",
    },
    Server {
        name: "Node http",
        needs: "node",
        start: |fixture| {
            let (script, content) = (tools::source("programs.js"), fixture.path("content"));
            fixture.serve(&["node", &script, "http-server", "8000", &content], 8000)
        },
        path: "/bytes/100",
    },
    Server { name: "nginx, a file of 1 KiB", needs: "nginx", start: nginx, path: "/small" },
    Server {
        name: "Python asyncio, an echo",
        needs: "python3",
        start: |fixture| python_server(fixture, &["asyncio-server", "8000"], 8000),
        path: "echo",
    },
];

/// The client's requests before one went past the stack, and milliseconds until then.
fn measure(server: &Server, rate: &str) -> (u32, f64) {
    let fixture = Fixture::accelerated("probation").unwrap();
    (server.start)(&fixture).unwrap();
    let said = python_client(&fixture, &["probation-client", "8000", rate, server.path]).unwrap();
    let (requests, milliseconds) = said.trim().split_once(' ').unwrap();
    (requests.parse().unwrap(), milliseconds.parse().unwrap())
}

#[test]
#[ignore = "a measurement: `cargo test --test programs -- --ignored probation --nocapture`"]
fn probation() {
    let _alone = alone();
    println!("| server | requests a second | requests by the stack | milliseconds |\n|---|---|---|---|");
    for server in &SERVERS {
        assert!(tools::find(server.needs).is_some(), "{} not found", server.needs);
        for rate in RATES {
            let mut all: Vec<_> = (0..RUNS).map(|_| measure(server, rate)).collect();
            all.sort_by(|a, b| a.1.total_cmp(&b.1));
            let (requests, milliseconds) = all[RUNS / 2];
            let shown = if rate == "0" { "one after the other" } else { rate };
            println!("| {} | {shown} | {requests} | {milliseconds:.1} |", server.name);
            assert!(milliseconds < LONGEST, "{}: {all:?}", server.name);
        }
    }
}
