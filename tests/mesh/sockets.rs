//! All six sockets of a connection are accelerated: TCP itself, asked by inet_diag, has hardly any payload to send.

use sidestep::dataplane::{Counter, Pairing};

use crate::load::{Client, Load};
use crate::mesh::{Kind, Mesh, Pod};
use crate::support::wait::timeout;
use crate::up;

/// Established TCP sockets of both pods, and the segments with payload that TCP has sent for all of them.
fn by_stack(mesh: &Mesh) -> (usize, u64) {
    let mut sum = (0, 0);
    for pod in Pod::BOTH {
        let output = mesh.command(pod, "ss").args(["-tniHO", "state", "established"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for socket in String::from_utf8(output.stdout).unwrap().lines() {
            let count = socket.split_ascii_whitespace().find_map(|word| word.strip_prefix("data_segs_out:"));
            // ss leaves zeros out.
            sum = (sum.0 + 1, sum.1 + count.map_or(0, |count| count.parse::<u64>().unwrap()));
        }
    }
    sum
}

fn accelerates(kind: Kind, pairing: Pairing, flags: &[&str]) {
    const CONNECTIONS: usize = 4;
    // At least one message for each of a request's and its answer's three hops.
    let messages = 6 * (CONNECTIONS as u64) * 500;
    let Some(mesh) = up(kind, flags) else { return };
    let what = format!("{} {flags:?} {}", kind.name(), pairing.name());
    let acceleration = mesh.accelerate(pairing);
    let load = Load { target: mesh.service, protocol: kind.protocol(), connections: CONNECTIONS, short: false };
    mesh.in_client_pod(|| {
        let mut client = Client::new(load).unwrap();
        // The first messages may take the stack, since they come before their receivers are accepted.
        client.run(|answers| answers >= 50).unwrap();
        let (sockets, before) = by_stack(&mesh);
        // An HTTP proxy shares its upstream connections between those of its clients; all have six sockets otherwise.
        assert!(if kind.pools() { sockets >= 6 } else { sockets == 6 * CONNECTIONS }, "{what}: {sockets} sockets");
        client.run(|answers| answers >= 500).unwrap();
        let (_, after) = by_stack(&mesh);
        // A message takes the stack when its receiver is in the midst of something: one in two hundred may.
        let most = messages / 200;
        assert!(after - before <= most, "{what}: {} segments with payload, of {messages} messages", after - before);
        let mut short = Client::new(Load { short: true, connections: 2, ..load }).unwrap();
        short.run(|answers| answers >= 50).unwrap();
    });
    let snapshot = acceleration.snapshot().unwrap();
    let (paired, redirected) = (snapshot.get(Counter::Paired), snapshot.get(Counter::RedirectedMessages));
    assert!(
        paired >= 6 && redirected >= messages - messages / 200,
        "{what}: {paired} paired, {redirected} messages redirected"
    );
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0, "{what}");
}

#[test]
fn envoys_as_tcp_proxies() {
    accelerates(Kind::Tcp, Pairing::Sequence, &[]);
    accelerates(Kind::Tcp, Pairing::FourTuple, &[]);
    accelerates(Kind::Tcp, Pairing::Sequence, &["--ipv6"]);
}

#[test]
fn envoys_as_http_proxies() {
    accelerates(Kind::Http, Pairing::Sequence, &[]);
    accelerates(Kind::Http, Pairing::FourTuple, &["--ipv6"]);
}

#[test]
fn envoys_with_mutual_tls() {
    accelerates(Kind::Mtls, Pairing::Sequence, &[]);
}

#[test]
fn other_sidecars() {
    accelerates(Kind::Haproxy, Pairing::Sequence, &[]);
    accelerates(Kind::Nginx, Pairing::Sequence, &[]);
}

#[test]
fn redis_behind_envoys() {
    accelerates(Kind::Redis, Pairing::Sequence, &[]);
}
