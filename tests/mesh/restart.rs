//! Envoys are replaced and drained while load runs over accelerated connections: no request fails.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use sidestep::dataplane::{Counter, Pairing};

use crate::lifecycle::under_load;
use crate::mesh::{Kind, Mesh, Pod, scripts};
use crate::support::wait::{timeout, wait_for};
use crate::{NAME, up};

/// What an Envoy's admin interface answers.
fn admin(mesh: &Mesh, pod: Pod, method: &str, path: &str) -> String {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 15000))?;
        stream.set_read_timeout(Some(timeout()))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    // An old Envoy that leaves its admin port to the new one may cut a connection, and then nothing listens there for a moment.
    let answer = mesh.in_pod(pod, || wait_for(ask));
    assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    answer
}

fn number(mesh: &Mesh, pod: Pod, statistic: &str) -> u64 {
    let text = admin(mesh, pod, "GET", &format!("/stats?filter=^{statistic}$"));
    // The body may come in chunks, whose lengths have lines of their own.
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{statistic}: ")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{statistic}: {text:?}"))
}

#[test]
fn no_request_fails_while_envoys_restart_and_drain() {
    let Some(mesh) = up(Kind::Http, &[]) else { return };
    let acceleration = mesh.accelerate(Pairing::Sequence);
    let redirected = || acceleration.snapshot().unwrap().get(Counter::RedirectedMessages);
    // Connections to whichever Envoys there are now are accelerated.
    let accelerated = || {
        let before = redirected();
        wait_for(|| match redirected() - before {
            100.. => Ok(()),
            few => Err(format!("only {few} messages were redirected")),
        });
    };
    let answers = under_load(&mesh, Kind::Http, || {
        accelerated();
        for pod in Pod::BOTH {
            let restart = Command::new(scripts().join("hot-restart")).args([NAME, pod.name()]).status().unwrap();
            assert!(restart.success());
        }
        // The old ones drain for three seconds and end after five.
        sleep(Duration::from_secs(1));
        for pod in Pod::BOTH {
            wait_for(|| {
                let is_new = number(&mesh, pod, "server.hot_restart_epoch") == 1;
                let is_alone = is_new && number(&mesh, pod, "server.parent_connections") == 0;
                if is_alone { Ok(()) } else { Err(format!("the old Envoy of the {} stays", pod.name())) }
            });
        }
        sleep(Duration::from_secs(5));
        accelerated();
        // Clients and the sidecar upstream are asked to reconnect, and do.
        for pod in Pod::BOTH {
            admin(&mesh, pod, "POST", "/drain_listeners?graceful&skip_exit");
        }
        // They listen for three seconds more, and the load should have ended by then.
        sleep(Duration::from_millis(700));
    });
    println!("{answers} answers, {} messages redirected", redirected());
    assert!(answers > 100, "{answers} answers");
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
}
