//! Web servers from Debian, and clients that fail as with plain TCP.

use super::{curl, python_client, python_server};
use crate::case::{Case, Set};
use crate::content::CONTENT;
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "nginx-curl",
        programs: "curl, nginx with Python http.server behind it",
        needs: &["nginx", "curl", "python3"],
        set: Set::Short,
        least: 0,
        work: |fixture| {
            nginx(fixture)?;
            curl(fixture, 8000, &[])
        },
    },
    Case {
        name: "nginx-headers",
        programs: "Python with poll(2), nginx with headers that do not fit its first buffer",
        needs: &["nginx", "python3"],
        set: Set::Short,
        least: 500,
        work: |fixture| {
            nginx(fixture)?;
            python_client(fixture, &["header-client", "8000"])
        },
    },
    Case {
        name: "nginx-wrk",
        programs: "wrk, nginx with files of 1 KiB and 4 MiB",
        needs: &["nginx", "wrk", "python3"],
        set: Set::Short,
        least: 0,
        work: wrk,
    },
    Case {
        name: "failures",
        programs: "curl, servers that refuse, cut short and reset",
        needs: &["curl", "python3"],
        set: Set::Short,
        least: 0,
        work: failures,
    },
];

/// nginx on 8000: files at /file and /small, everything else from a server behind it.
pub(crate) fn nginx(fixture: &Fixture) -> Result<(), String> {
    python_server(fixture, &["http-server", "8001", &fixture.path("content")], 8001)?;
    let root = fixture.path("");
    let content = std::fs::read(fixture.path("content")).map_err(|error| error.to_string())?;
    std::fs::write(fixture.path("small"), &content[..SMALL]).map_err(|error| error.to_string())?;
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {root}{name};\n"));
    let config = format!(
        "user root; daemon off; worker_processes 2; pid {root}nginx.pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_max_body_size 0; {}\n\
         upstream behind {{ server 127.0.0.1:8001; keepalive 4; }}\n\
         server {{ listen 127.0.0.1:8000; location /file {{ alias {root}content; }}\n\
         location /small {{ alias {root}small; }}\n\
         location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}\n",
        temporary.concat()
    );
    let config = fixture.write("nginx.conf", &config)?;
    fixture.serve(&["nginx", "-p", &root, "-e", "stderr", "-c", &config], 8000)
}

/// Bytes of the small file.
const SMALL: usize = 1024;

/// wrk counts what fails. It compares no bytes, so the script does.
fn wrk(fixture: &Fixture) -> Result<String, String> {
    nginx(fixture)?;
    let script = fixture.write(
        "check.lua",
        &format!(
            "local file = io.open('{}', 'rb')\nlocal content = file:read('*a')\n\n\
             function response(status, headers, body)\n  if status ~= 200 or body ~= content:sub(1, #body) or \
             (#body ~= {CONTENT} and #body ~= {SMALL}) then print('WRONG') end\nend\n",
            fixture.path("content")
        ),
    )?;
    for path in ["small", "file"] {
        let url = format!("http://127.0.0.1:8000/{path}");
        let output = fixture.run(&["wrk", "-t1", "-c4", "-d1", "-s", &script, &url])?;
        for word in ["WRONG", "Socket errors", "Non-2xx"] {
            if let Some(line) = output.lines().find(|line| line.contains(word)) {
                return Err(format!("wrk: {line}"));
            }
        }
        if !output.contains("requests in") {
            return Err(format!("wrk: {output}"));
        }
    }
    Ok("no error".into())
}

/// curl's exit statuses are the outcome: 7 refused, 18 fewer bytes than promised, 52 no answer, 56 reset.
fn failures(fixture: &Fixture) -> Result<String, String> {
    python_server(fixture, &["broken-server", "8000"], 8000)?;
    let mut outcome = Vec::new();
    for path in ["8001/refused", "8000/short", "8000/reset", "8000/silent"] {
        let (status, _) = fixture.attempt(&["curl", "-sS", "-o", "/dev/null", &format!("http://127.0.0.1:{path}")])?;
        outcome.push(format!("{path} {status}"));
    }
    Ok(outcome.join(", "))
}
