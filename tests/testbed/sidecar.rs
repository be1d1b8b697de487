//! The sidecar proxy at the edges of TCP: half-close, resets, refusals, slow readers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use sidestep::testbed::{self, Addresses, NetNs, Pods, Process, Role, Routing, SIDECAR_ID};

use crate::support::wait::timeout;

const ADDRESSES: &Addresses = &Addresses::V4;

/// Two pods with their sidecars; client and app are the test's own.
struct Mesh {
    pods: Pods,
    near: Process,
    far: Process,
}

impl Mesh {
    fn new() -> Self {
        let pods = Pods::new(false).unwrap();
        let routing = Routing { service: (ADDRESSES.service, ADDRESSES.app), inbound_source: ADDRESSES.inbound_source };
        let sidecar = |pod: &NetNs| {
            crate::launcher().spawn(pod, SIDECAR_ID, Role::Sidecar { any: ADDRESSES.any, routing }).unwrap()
        };
        let (near, far) = (sidecar(&pods.client), sidecar(&pods.server));
        Self { pods, near, far }
    }

    fn app(&self) -> TcpListener {
        let any = SocketAddr::new(ADDRESSES.any, ADDRESSES.app.port());
        self.pods.server.run(|| TcpListener::bind(any)).unwrap().unwrap()
    }

    /// A blocking connection to the service, whose reads give up at some time.
    fn client(&self) -> TcpStream {
        let stream = self.pods.client.run(|| TcpStream::connect(ADDRESSES.service)).unwrap().unwrap();
        patient(&stream);
        stream
    }
}

fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(timeout())).unwrap();
    stream.set_write_timeout(Some(timeout())).unwrap();
}

fn accept(listener: &TcpListener) -> TcpStream {
    crate::wait(listener, PollFlags::POLLIN);
    let (stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), ADDRESSES.inbound_source, "the app is called by its sidecar");
    patient(&stream);
    stream
}

#[test]
fn half_close_travels_both_ways() {
    let mesh = Mesh::new();
    let listener = mesh.app();
    for client_ends_first in [true, false] {
        let mut client = mesh.client();
        let mut app = accept(&listener);
        let (first, second) = if client_ends_first { (&mut client, &mut app) } else { (&mut app, &mut client) };
        let mut text = String::new();
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        // The other direction is as open as before.
        for word in ["an ", "ans", "wer"] {
            second.write_all(word.as_bytes()).unwrap();
            let mut got = [0; 3];
            first.read_exact(&mut got).unwrap();
            assert_eq!(got, word.as_bytes());
        }
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(mesh.near.finish().unwrap().failed, 0);
    let report = mesh.far.finish().unwrap();
    assert_eq!((report.failed, report.downstream.connections, report.upstream.written), (0, 2, 17));
}

#[test]
fn a_reset_travels_both_ways() {
    let mesh = Mesh::new();
    let listener = mesh.app();
    for client_resets in [true, false] {
        let mut client = mesh.client();
        let mut app = accept(&listener);
        client.write_all(b"x").unwrap();
        app.read_exact(&mut [0]).unwrap();
        let (killer, mut victim) = if client_resets { (client, app) } else { (app, client) };
        setsockopt(&killer, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        drop(killer);
        assert_eq!(victim.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(mesh.near.finish().unwrap().failed, 2);
    assert_eq!(mesh.far.finish().unwrap().failed, 2);
}

#[test]
fn an_app_that_is_not_there_resets_the_client() {
    let mesh = Mesh::new();
    // No program can reach a listener of the sidecar by its own address and make it call itself.
    for target in [ADDRESSES.service, SocketAddr::new(ADDRESSES.loopback, testbed::OUTBOUND_PORT)] {
        // On a slow machine the reset is there before connect(2) has returned.
        let read = mesh.pods.client.run(|| TcpStream::connect(target)).unwrap().and_then(|mut client| {
            patient(&client);
            client.read(&mut [0])
        });
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset, "{target}");
    }
    assert_eq!(mesh.far.finish().unwrap().failed, 1);
    assert_eq!(mesh.near.finish().unwrap().failed, 2);
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    const LIMIT: usize = 256 << 20;
    let mesh = Mesh::new();
    let listener = mesh.app();
    let mut client = mesh.client();
    let mut app = accept(&listener);
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let content: Vec<u8> = (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut sent = 0;
    while sent < LIMIT {
        match client.write(&content[sent % content.len()..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..64 << 20).contains(&sent), "{sent} bytes went to a reader that does not read");
    client.shutdown(Shutdown::Write).unwrap();
    // What was taken arrives in full once it is read.
    let mut got = Vec::new();
    app.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
    assert!(got.chunks(content.len()).all(|chunk| chunk == &content[..chunk.len()]));
}
