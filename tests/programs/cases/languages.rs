//! The servers and clients that languages bring along.

use super::{curl, python_client, python_server};
use crate::case::{Case, Set};
use crate::fixture::Fixture;
use crate::tools;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "go-http",
        programs: "Go net/http, client and server",
        needs: &["go"],
        set: Set::Short,
        least: 150,
        work: go_http,
    },
    Case {
        name: "node-http",
        programs: "Node http, client and server",
        needs: &["node"],
        set: Set::Short,
        least: 150,
        work: node_http,
    },
    Case {
        name: "node-net",
        programs: "Node net, client and server",
        needs: &["node"],
        set: Set::Short,
        least: 150,
        work: node_net,
    },
    Case {
        name: "java-nio",
        programs: "Java selectors, client and server",
        needs: &["java", "javac"],
        set: Set::Long,
        least: 0,
        work: |fixture| java(fixture, "nio-server", "nio-client"),
    },
    Case {
        name: "java-blocking",
        programs: "Java blocking sockets, client and server",
        needs: &["java", "javac"],
        set: Set::Long,
        least: 0,
        work: |fixture| java(fixture, "blocking-server", "blocking-client"),
    },
    Case {
        name: "python-asyncio",
        programs: "Python asyncio, client and server",
        needs: &["python3"],
        set: Set::Short,
        least: 150,
        work: |fixture| {
            python_server(fixture, &["asyncio-server", "8000"], 8000)?;
            python_client(fixture, &["asyncio-client", "8000", &fixture.path("content")])
        },
    },
    Case {
        name: "python-http.server",
        programs: "curl, Python http.server",
        needs: &["python3", "curl"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            python_server(fixture, &["http-server", "8000", &fixture.path("content")], 8000)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "python-socketserver",
        programs: "Python with poll(2), socketserver",
        needs: &["python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            python_server(fixture, &["socketserver-server", "8000"], 8000)?;
            python_client(fixture, &["echo-client", "8000", &fixture.path("content")])
        },
    },
];

/// Compiles the Go programs, once for all cases and runs; the path of the binary.
pub(crate) fn go(fixture: &Fixture) -> Result<String, String> {
    let (binary, source) = (tools::built("go-programs"), tools::source("programs.go"));
    if !tools::is_newer(&binary, &source) {
        let cache = format!("GOCACHE={}", tools::built("go-cache"));
        fixture.run(&["env", &cache, "go", "build", "-o", &binary, &source])?;
    }
    Ok(binary)
}

fn go_http(fixture: &Fixture) -> Result<String, String> {
    let (binary, content) = (go(fixture)?, fixture.path("content"));
    fixture.serve(&[&binary, "server", "127.0.0.1:8000", &content], 8000)?;
    fixture.run(&[&binary, "client", "http://127.0.0.1:8000", &content])
}

fn node_http(fixture: &Fixture) -> Result<String, String> {
    let (script, content) = (tools::source("programs.js"), fixture.path("content"));
    fixture.serve(&["node", &script, "http-server", "8000", &content], 8000)?;
    fixture.run(&["node", &script, "http-client", "8000", &content])
}

fn node_net(fixture: &Fixture) -> Result<String, String> {
    let script = tools::source("programs.js");
    fixture.serve(&["node", &script, "net-server", "8000"], 8000)?;
    fixture.run(&["node", &script, "net-client", "8000", &fixture.path("content")])
}

fn java(fixture: &Fixture, server: &str, client: &str) -> Result<String, String> {
    let classes = fixture.path("classes");
    fixture.run(&["javac", "-d", &classes, &tools::source("Programs.java")])?;
    fixture.serve(&["java", "-cp", &classes, "Programs", server, "8000"], 8000)?;
    fixture.run(&["java", "-cp", &classes, "Programs", client, "8000", &fixture.path("content")])
}
