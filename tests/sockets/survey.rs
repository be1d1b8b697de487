//! What a survey says of connections whose traffic is known.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::unistd::{Uid, setfsuid};
use sidestep::observe::{Observed, Observer, Processes, Route, Ruling, Survey};
use sidestep::testbed::{Addresses, INBOUND_PORT, NetNs, OUTBOUND_PORT, Pods, SIDECAR_ID};

use crate::pair;
use crate::support::machine::Turn;

/// Of all that runs on the machine, the connections of this process.
fn look(observer: &Observer) -> Observed {
    let mut observed = observer.look().unwrap();
    observed.connections.local.retain(|one| one.client.pid == std::process::id());
    observed.connections.single.retain(|one| one.pid == std::process::id());
    observed
}

#[test]
fn a_survey_tells_bytes_and_why_a_connection_cannot_be_accelerated() {
    // A child that another test starts has our descriptors until it executes its program, and is seen at them.
    let _turn = Turn::take();
    let (mut client, mut server) = pair("127.0.0.1:0");
    let (idle_client, idle_server) = pair("127.0.0.1:0");
    for socket in [&client, &server, &idle_client, &idle_server] {
        socket.set_nonblocking(true).unwrap();
    }
    let observer = Observer::new().unwrap();
    let before = look(&observer);
    for _ in 0..10 {
        client.write_all(&[1; 500]).unwrap();
        let mut read = 0;
        while read < 500 {
            read += server.read(&mut [0; 500]).unwrap_or(0);
        }
    }
    idle_server.set_nonblocking(false).unwrap();
    let after = look(&observer);
    let survey =
        Survey::between(&before, &after, Duration::from_secs(2), &mut Processes::default(), |_, _| Ruling::default());
    // Other tests of this process may have connections of their own meanwhile.
    let group = survey.groups.iter().find(|group| group.connections >= 2).unwrap();
    assert!(group.bytes_per_second >= 2500.0 && group.segments_per_second >= 5.0, "{group:?}");
    assert!(group.eligible_share < 1.0, "{group:?}");
    let blocking = group.why_not.iter().find(|why| why.condition.code == "server_nonblocking").unwrap();
    assert!(blocking.connections >= 1 && blocking.condition.remedy.is_some(), "{blocking:?}");
    assert!(blocking.condition.finding.contains("blocks on"), "{blocking:?}");
}

#[test]
fn a_direction_that_a_policy_keeps_on_the_stack_is_not_counted() {
    let _turn = Turn::take();
    let (mut client, mut server) = pair("127.0.0.1:0");
    let observer = Observer::new().unwrap();
    let before = look(&observer);
    client.write_all(&[1; 700]).unwrap();
    server.read_exact(&mut [0; 700]).unwrap();
    server.write_all(&[1; 300]).unwrap();
    client.read_exact(&mut [0; 300]).unwrap();
    let after = look(&observer);
    for (kept, bytes) in [([false; 2], 1000.0), ([true, false], 300.0), ([false, true], 700.0)] {
        let rule = |_: &_, _: &_| Ruling { any_reader: true, kept, ..Ruling::default() };
        let survey = Survey::between(&before, &after, Duration::from_secs(1), &mut Processes::default(), rule);
        let group = &survey.groups[0];
        assert_eq!((group.bytes_per_second, group.eligible_bytes_per_second), (1000.0, bytes), "{kept:?}: {group:?}");
        // At least one each way: a segment whose acknowledgement is late is sent once more (a tail loss probe).
        let (all, eligible) = (group.segments_per_second, group.eligible_segments_per_second);
        let counted = if kept == [false; 2] { eligible == all } else { (1.0..all).contains(&eligible) };
        assert!(all >= 2.0 && counted, "{kept:?}: {group:?}");
    }
}

/// The way of a connection between two namespaces, which is made while this thread is that user.
fn route(observer: &Observer, user: u32, from: &NetNs, called: SocketAddr, to: &NetNs, port: u16) -> Route {
    let any = Addresses::V4.any;
    let listener = to.run(|| TcpListener::bind((any, port))).unwrap().unwrap();
    let connect = || {
        let own = setfsuid(Uid::from_raw(user));
        let client = TcpStream::connect(called);
        setfsuid(own);
        client.unwrap()
    };
    let client = from.run(connect).unwrap();
    let _server = listener.accept().unwrap();
    let fd = client.as_raw_fd().cast_unsigned();
    let observed = look(observer);
    Route::of(observed.connections.local.iter().find(|one| one.client.fd == fd).unwrap())
}

#[test]
fn the_way_of_a_connection_is_told_from_its_two_ends() {
    let _turn = Turn::take();
    const PORT: u16 = 18_080;
    let observer = Observer::new().unwrap();
    let Addresses { loopback, server_pod, service, app, .. } = Addresses::V4;
    let at = |ip: IpAddr| SocketAddr::new(ip, PORT);

    let Pods { client, server } = Pods::without_sidecars().unwrap();
    assert_eq!(route(&observer, 0, &client, at(loopback), &client, PORT), Route::Loopback);
    assert_eq!(route(&observer, 0, &client, at(server_pod), &server, PORT), Route::Veth);

    // Istio's rules redirect what leaves a pod and what enters it, except for what a sidecar sends.
    let Pods { client, server } = Pods::new(false).unwrap();
    assert_eq!(route(&observer, 0, &client, service, &client, OUTBOUND_PORT), Route::LoopbackTracked);
    assert_eq!(route(&observer, SIDECAR_ID, &client, app, &server, INBOUND_PORT), Route::VethTracked);
    // Of what they let through unchanged, the addresses tell nothing, and the namespace does.
    assert_eq!(route(&observer, 0, &client, at(loopback), &client, PORT), Route::LoopbackTracked);
}
