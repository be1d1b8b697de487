//! Proxies between a client and a server. Most of them read with splice(2).

use super::languages::go;
use super::{curl, python_client, python_server};
use crate::case::{Case, Set};
use crate::fixture::Fixture;
use crate::tools;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "haproxy",
        programs: "curl, HAProxy in HTTP mode, Python http.server",
        needs: &["haproxy", "curl", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            haproxy(fixture, "mode http\n  http-reuse always")?;
            python_server(fixture, &["http-server", "8001", &fixture.path("content")], 8001)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "haproxy-splice-auto",
        programs: "Python, HAProxy with `option splice-auto`, Python asyncio",
        needs: &["haproxy", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            haproxy(fixture, "mode tcp\n  option splice-auto")?;
            through(fixture)
        },
    },
    Case {
        name: "haproxy-splice-response",
        programs: "curl, HAProxy with `option splice-response`, Python http.server",
        needs: &["haproxy", "curl", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            haproxy(fixture, "mode http\n  option splice-response")?;
            python_server(fixture, &["http-server", "8001", &fixture.path("content")], 8001)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "go-io.Copy",
        programs: "Python, a Go proxy with io.Copy, Python asyncio",
        needs: &["go", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            let binary = go(fixture)?;
            fixture.serve(&[&binary, "proxy", "127.0.0.1:8000", "127.0.0.1:8001"], 8000)?;
            through(fixture)
        },
    },
    Case {
        name: "go-CONNECT",
        programs: "curl, a Go CONNECT proxy, Go net/http",
        needs: &["go", "curl"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            let binary = go(fixture)?;
            fixture.serve(&[&binary, "connect", "127.0.0.1:8000"], 8000)?;
            fixture.serve(&[&binary, "server", "127.0.0.1:8001", &fixture.path("content")], 8001)?;
            curl(fixture, 8001, &["--proxytunnel", "--proxy", "http://127.0.0.1:8000"])
        },
    },
    Case {
        name: "systemd-socket-proxyd",
        programs: "Python, systemd-socket-proxyd, Python asyncio",
        needs: &["systemd-socket-proxyd", "systemd-socket-activate", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            let proxy = tools::find("systemd-socket-proxyd").ok_or("no systemd-socket-proxyd")?;
            let proxy = proxy.display().to_string();
            fixture.serve(&["systemd-socket-activate", "-l", "127.0.0.1:8000", &proxy, "127.0.0.1:8001"], 8000)?;
            python_server(fixture, &["asyncio-server", "8001"], 8001)?;
            // It closes both directions at the end of one (`connection_shovel` in src/socket-proxy/socket-proxyd.c).
            python_client(fixture, &["echo-client", "8000", &fixture.path("content"), "close"])
        },
    },
    Case {
        name: "python-splice",
        programs: "Python, a proxy with splice(2), Python asyncio",
        needs: &["python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            fixture.serve(&["python3", &tools::source("splice_proxy.py"), "8000", "8001"], 8000)?;
            through(fixture)
        },
    },
];

fn haproxy(fixture: &Fixture, options: &str) -> Result<(), String> {
    let config = format!(
        "global\n  maxconn 256\n  stats socket {}\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         listen test\n  bind 127.0.0.1:8000\n  {options}\n  server one 127.0.0.1:8001\n",
        fixture.path("control")
    );
    let config = fixture.write("haproxy.cfg", &config)?;
    fixture.serve(&["haproxy", "-db", "-q", "-f", &config], 8000)
}

/// Round trips and a bulk echo through the proxy on 8000, and an upload of which the server sends back the sum.
fn through(fixture: &Fixture) -> Result<String, String> {
    python_server(fixture, &["asyncio-server", "8001"], 8001)?;
    let content = fixture.path("content");
    python_client(fixture, &["echo-client", "8000", &content])?;
    // The end of the client's side is passed on as such.
    for _ in 0..3 {
        python_client(fixture, &["asyncio-client", "8000", &content])?;
    }
    python_client(fixture, &["upload-client", "8000", &content])
}
