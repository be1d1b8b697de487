//! Istio's rules, seen from outside: who connects where, and which listener answers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use sidestep::testbed::{self, APP_ID, Addresses, INBOUND_PORT, NetNs, OUTBOUND_PORT, Pods, SIDECAR_ID, StackBytes};

use crate::support::wait::timeout;

/// HBONE's port, which is never captured.
const TUNNEL: u16 = 15008;

struct Pod<'a> {
    netns: &'a NetNs,
    listeners: BTreeMap<u16, TcpListener>,
}

impl<'a> Pod<'a> {
    fn new(netns: &'a NetNs, any: IpAddr) -> Self {
        let listeners = netns
            .run(|| {
                [OUTBOUND_PORT, INBOUND_PORT, TUNNEL, 8080, 9090]
                    .map(|port| (port, testbed::listen(SocketAddr::new(any, port)).unwrap()))
                    .into()
            })
            .unwrap();
        Self { netns, listeners }
    }

    /// Connects as a user; the answer is the established socket.
    fn connect(&self, (uid, gid): (u32, u32), target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
        self.netns
            .run(|| {
                // The rules look at the file system ids of the socket's opener; they are the thread's own.
                setfsgid(Gid::from_raw(gid));
                setfsuid(Uid::from_raw(uid));
                let stream = testbed::connect(target, source)?;
                crate::wait(&stream, PollFlags::POLLOUT);
                stream.take_error()?.map_or(Ok(stream), Err)
            })
            .unwrap()
    }

    /// Takes the next connection, which may arrive later than its client has it: the port of its listener, and the socket.
    fn accept(&self) -> Option<(u16, TcpStream)> {
        let mut polled: Vec<_> =
            self.listeners.values().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut polled, PollTimeout::try_from(timeout()).unwrap()).unwrap();
        self.accepted()
    }

    /// Takes the connection that waits now, if there is one.
    fn accepted(&self) -> Option<(u16, TcpStream)> {
        self.listeners.iter().find_map(|(&port, listener)| Some((port, testbed::accept(listener).unwrap()?)))
    }
}

fn check(addresses: &Addresses) {
    let pods = Pods::new(true).unwrap();
    let client = Pod::new(&pods.client, addresses.any);
    let server = Pod::new(&pods.server, addresses.any);
    let (app, sidecar) = ((APP_ID, APP_ID), (SIDECAR_ID, SIDECAR_ID));
    let at = |ip, port| SocketAddr::new(ip, port);
    let pod = addresses.server_pod;
    let loopback = addresses.loopback;

    // From the server's pod to itself, and from the client's pod to the server's: who, from, to, listener.
    let local = [
        ("the app reaches a service", app, None, addresses.service, OUTBOUND_PORT),
        ("the app reaches loopback", app, None, at(loopback, 9090), 9090),
        ("the app reaches its own pod", app, None, at(pod, 8080), 8080),
        ("the sidecar hands over to the app", sidecar, Some(addresses.inbound_source), at(pod, 8080), 8080),
        ("the sidecar calls its own pod", sidecar, None, at(pod, 8080), INBOUND_PORT),
        ("the sidecar reaches loopback", sidecar, None, at(loopback, 9090), 9090),
        ("the sidecar's tunnel is left alone", sidecar, None, at(pod, TUNNEL), TUNNEL),
    ];
    let remote = [
        ("a sidecar reaches the other pod", sidecar, None, addresses.app, INBOUND_PORT),
        ("its group suffices", (APP_ID, SIDECAR_ID), None, addresses.app, INBOUND_PORT),
        ("any port of it", sidecar, None, at(pod, 9090), INBOUND_PORT),
        ("but the tunnel's", sidecar, None, at(pod, TUNNEL), TUNNEL),
    ];
    let cases =
        local.iter().map(|case| (&server, &server, case)).chain(remote.iter().map(|case| (&client, &server, case)));
    for (from, to, &(what, who, source, target, expected)) in cases {
        let stream = from.connect(who, target, source).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (port, accepted) = to.accept().unwrap_or_else(|| panic!("{what}: no listener was asked"));
        assert_eq!(port, expected, "{what}");
        assert_eq!(stream.peer_addr().unwrap(), target, "{what}: the client must not notice");
        if port != target.port() {
            assert_eq!(testbed::original_destination(&accepted).unwrap(), target, "{what}");
            let ip = if from.netns_eq(to) { loopback } else { pod };
            assert_eq!(accepted.local_addr().unwrap(), at(ip, port), "{what}: REDIRECT changes the passive side");
        }
        assert_eq!(StackBytes::of(&stream).unwrap(), StackBytes::default(), "{what}");
        assert!(to.accepted().is_none(), "{what}: asked twice");
    }
    // From the client's pod, the app's traffic for the other pod is captured where it starts.
    let stream = client.connect(app, addresses.app, None).unwrap();
    assert_eq!(client.accept().unwrap().0, OUTBOUND_PORT);
    assert!(server.accepted().is_none());
    assert_eq!(stream.local_addr().unwrap().ip(), addresses.client_pod);
}

impl Pod<'_> {
    fn netns_eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.netns, other.netns)
    }
}

#[test]
fn ipv4_traffic_goes_where_istio_sends_it() {
    check(&Addresses::V4);
}

#[test]
fn ipv6_traffic_goes_where_istio_sends_it() {
    check(&Addresses::V6);
}
