//! Packages from PyPI, in an environment that `tests/programs/run --all` makes.

use super::databases::{DSN, POSTGRES, postgres};
use super::{curl, python_server};
use crate::case::{Case, Set};
use crate::fixture::Fixture;
use crate::tools;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "envoy",
        programs: "curl, Envoy, Python http.server",
        needs: &["pypi:python3", "pypi:envoy", "curl"],
        set: Set::Long,
        least: 50,
        work: envoy,
    },
    Case {
        name: "aiohttp",
        programs: "aiohttp, client and server",
        needs: &["pypi:python3"],
        set: Set::Long,
        least: 150,
        work: |fixture| {
            fixture.serve(&[&python()?, &tools::source("pypi.py"), "aiohttp-server", "8000"], 8000)?;
            fixture.run(&[&python()?, &tools::source("pypi.py"), "aiohttp-client", "8000"])
        },
    },
    Case {
        name: "uvicorn",
        programs: "curl, uvicorn with uvloop",
        needs: &["pypi:uvicorn", "curl"],
        set: Set::Long,
        least: 0,
        work: |fixture| {
            let options = ["--app-dir", &tools::source(""), "--port", "8000", "--log-level", "error", "pypi:asgi"];
            fixture.serve(&[&[tool("uvicorn")?.as_str()], &options[..]].concat(), 8000)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "gunicorn",
        programs: "curl, gunicorn with its default worker",
        needs: &["pypi:gunicorn", "curl"],
        set: Set::Long,
        least: 0,
        work: |fixture| {
            let options = ["--chdir", &tools::source(""), "--bind", "127.0.0.1:8000", "pypi:wsgi"];
            fixture.serve(&[&[tool("gunicorn")?.as_str()], &options[..]].concat(), 8000)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "psycopg",
        programs: "psycopg, PostgreSQL",
        needs: NEEDS_PSYCOPG,
        set: Set::Long,
        least: 0,
        work: |fixture| {
            postgres(fixture)?;
            fixture.run(&[&python()?, &tools::source("pypi.py"), "psycopg-client", DSN])
        },
    },
];

const NEEDS_PSYCOPG: &[&str] = &["pypi:python3", POSTGRES[2], POSTGRES[3], POSTGRES[4]];

fn tool(name: &str) -> Result<String, String> {
    let path = tools::find(&format!("pypi:{name}")).ok_or(format!("no {name}"))?;
    Ok(path.display().to_string())
}

fn python() -> Result<String, String> {
    tool("python3")
}

fn envoy(fixture: &Fixture) -> Result<String, String> {
    python_server(fixture, &["http-server", "8001", &fixture.path("content")], 8001)?;
    let address = |port| format!("address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}");
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let config = format!(
        "static_resources:
  listeners:
  - {front}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': {manager}
          stat_prefix: http
          route_config: {{ virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: one }} }}] }}] }}
          http_filters: [{{ name: router, typed_config: {{ '@type': {router} }} }}]
  clusters:
  - name: one
    type: STATIC
    load_assignment: {{ cluster_name: one, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ {behind} }} }}] }}] }}
",
        front = address(8000),
        behind = address(8001)
    );
    let config = fixture.write("envoy.yaml", &config)?;
    fixture.serve(&[&tool("envoy")?, "-c", &config, "--concurrency", "2", "-l", "error", "--base-id", "77"], 8000)?;
    curl(fixture, 8000, &[])
}
