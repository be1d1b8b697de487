//! Envoy as an HTTP proxy on both sides, nginx as the app.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use sidestep::dataplane::{Counter, Pairing};
use sidestep::testbed::{APP_ID, Addresses};

use crate::envoy::{self, Proxying};
use crate::mesh::Mesh;

/// What nginx answers.
const BODY: &str = "a small static body, enough for one segment";

/// A mesh with nginx; `None`, after saying so, when a program cannot be had.
fn mesh() -> Option<Mesh> {
    let envoy = envoy::binary()?;
    let nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| std::path::Path::new(path).exists());
    let Some(nginx) = nginx else {
        assert!(std::env::var_os("CI").is_none(), "nginx is not installed, and this is CI");
        eprintln!("NOT TESTED: nginx is not installed");
        return None;
    };
    let mut mesh = Mesh::new(&envoy, Proxying::Http);
    let folder = mesh.folder().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    let config = format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000; {temporary}\n\
         server {{ listen 0.0.0.0:8080; location / {{ return 200 \"{BODY}\"; }} }} }}\n"
    );
    let path = mesh.folder().join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(nginx);
    command.args(["-e", "stderr", "-c"]).arg(&path);
    let mut daemon = mesh.start(command, &mesh.pods.server, APP_ID, "nginx");
    daemon.wait_for(&mesh.pods.server, Addresses::V4.app.port());
    mesh.processes.push(daemon);
    Some(mesh)
}

/// Asks once and checks the answer.
fn ask(stream: &mut TcpStream, close: bool) {
    let connection = if close { "close" } else { "keep-alive" };
    let request = format!("GET / HTTP/1.1\r\nHost: app\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    while !answer.ends_with(BODY.as_bytes()) {
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "the answer ended early: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect(Addresses::V4.service).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn keep_alive_and_short_connections_are_answered_in_full() {
    let Some(mesh) = mesh() else { return };
    let acceleration = mesh.accelerate(Pairing::Sequence);
    mesh.pods
        .client
        .run(|| {
            let mut stream = connect();
            (0..500).for_each(|_| ask(&mut stream, false));
            (0..200).for_each(|_| ask(&mut connect(), true));
        })
        .unwrap();
    // The client is this test, outside the cgroup; Envoy to Envoy and Envoy to nginx are inside.
    let snapshot = acceleration.snapshot().unwrap();
    assert!(snapshot.get(Counter::Paired) >= 2);
    let redirected = snapshot.get(Counter::RedirectedMessages);
    assert!(redirected > 4 * 600, "{redirected} messages were redirected");
    assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
}

#[test]
fn no_request_fails_while_sidestep_comes_and_goes() {
    let Some(mesh) = mesh() else { return };
    let (ended, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mesh = &mesh;
    let (ended, asked) = (&ended, &asked);
    scope(|threads| {
        for short in [true, false] {
            threads.spawn(move || {
                mesh.pods.client.run(|| {
                    let mut kept = connect();
                    while !ended.load(Ordering::Relaxed) {
                        if short {
                            ask(&mut connect(), true);
                        } else {
                            ask(&mut kept, false);
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
        }
        let mut redirected = 0;
        for pairing in [Pairing::Sequence, Pairing::FourTuple, Pairing::Sequence] {
            sleep(Duration::from_millis(200));
            let acceleration = mesh.accelerate(pairing);
            sleep(Duration::from_millis(500));
            redirected += acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
            assert_eq!(acceleration.stop(Duration::from_secs(5)).unwrap().remaining, 0);
        }
        sleep(Duration::from_millis(200));
        ended.store(true, Ordering::Relaxed);
        // Envoy keeps its upstream connections, so those made before an attach stay plain; new ones are accelerated.
        eprintln!("{redirected} messages redirected during {} requests", asked.load(Ordering::Relaxed));
    });
    assert!(asked.load(Ordering::Relaxed) > 100);
}
