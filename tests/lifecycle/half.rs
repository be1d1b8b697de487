//! Half of an adoption: an agent was killed after it had put one end of a pair into the sockhash, and before the other. The test takes the
//! other one out instead. The next look of an agent makes both plain TCP, and a later one adopts them.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use sidestep::agent::Looks;
use sidestep::agent::lifecycle::Leftovers;
use sidestep::sockets;
use sidestep::syscall::{Map, MapSpec, UpdateFlags};
use sidestep::testbed::StackBytes;
use sidestep::uapi::MapType;

use crate::fixture::{Fixture, Version, drain, ensure};
use crate::pinned::Pinned;
use crate::streams::{listener, pair};
use crate::support::feature::Feature;
use crate::support::link::{back_and_forth, expect, pattern, send};
use crate::support::wait::wait_until;

#[test]
fn an_end_that_is_in_the_sockhash_alone_is_taken_out_and_adopted_again() {
    if !Feature::Adoption.required("half of an adoption") {
        return;
    }
    let (fixture, listener) = (Fixture::new(), listener());
    let pairs = [(); 2].map(|()| pair(&listener));
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| ());
    let pinned = Pinned::of(&fixture);
    let adopt = |looks: &mut Looks| fixture.instance().adopt(&Version::First.plane(), looks).unwrap();
    assert_eq!(adopt(&mut Looks::default()).pairs, 2);
    // One has only its client in the sockhash, and one only its server.
    let [only_client, only_server] = &pairs;
    pinned.take_out(&only_client.1);
    pinned.take_out(&only_server.0);
    assert_eq!([&only_client.0, &only_client.1].map(|end| pinned.stands(end)), [(true, true), (true, false)]);

    let mut looks = Looks::new(Duration::ZERO);
    assert_eq!(adopt(&mut looks).pairs, 0);
    let ends = || pairs.iter().flat_map(|(client, server)| [client, server]);
    for end in ends() {
        assert_eq!(pinned.stands(end), (false, false), "it is not plain TCP");
    }
    // They come back as pairs do that have left.
    wait_until("both connections are adopted", || {
        pairs.iter().for_each(|(client, server)| back_and_forth(client, server, &pattern(1, 100), 1));
        adopt(&mut looks);
        ends().all(|end| pinned.stands(end) == (true, true))
    });
    for (client, server) in &pairs {
        back_and_forth(client, server, &pattern(2, 500), 2);
        let before = StackBytes::of(client).unwrap().sent;
        back_and_forth(client, server, &pattern(3, 500), 5);
        assert_eq!(StackBytes::of(client).unwrap().sent, before, "it takes the stack");
    }
    drop(pairs);
    assert!(fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| ()).is_ok());
}

/// A socket in another tool's map is not opened: a socket that is opened by us has a cookie from then on. Such a connection is asked less
/// and less often, and adopted when the map has let go of it.
#[test]
fn an_end_in_another_tools_map_is_left_alone_and_put_off() {
    if !Feature::Adoption.required("an end in another tool's map") {
        return;
    }
    let (fixture, listener) = (Fixture::new(), listener());
    let pairs = [(); 2].map(|()| pair(&listener));
    let other = Map::create(&MapSpec::new("of_another", MapType::SOCKHASH, 4, 8, 4)).unwrap();
    let in_other = [&pairs[0].0, &pairs[1].1];
    for (key, end) in (0_u32..).zip(in_other) {
        let value = u64::from(end.as_raw_fd() as u32).to_ne_bytes();
        other.update(&key.to_ne_bytes(), &value, UpdateFlags::empty()).unwrap();
    }
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| ());
    let adopt = |looks: &mut Looks| fixture.instance().adopt(&Version::First.plane(), looks).unwrap();
    let cookies = || {
        let ends: Vec<&TcpStream> = pairs.iter().flat_map(|(client, server)| [client, server]).collect();
        let is_one = |record: &sockets::Record| {
            ends.iter()
                .any(|end| (end.local_addr().unwrap(), end.peer_addr().unwrap()) == (record.local, record.remote))
        };
        sockets::scan().unwrap().into_iter().filter(is_one).map(|record| record.cookie).collect::<Vec<_>>()
    };
    assert_eq!(cookies(), [0; 4], "something else has opened them, so this says nothing");
    let mut looks = Looks::new(Duration::from_secs(1_000));
    assert_eq!(adopt(&mut looks).pairs, 0);
    assert_eq!(cookies(), [0; 4], "they are opened");

    for key in 0_u32..2 {
        assert!(other.delete(&key.to_ne_bytes()).unwrap());
    }
    assert_eq!(adopt(&mut looks).pairs, 0, "they are not put off");
    assert_eq!(adopt(&mut Looks::default()).pairs, 2, "they cannot be adopted at all, so this says nothing");
    drop(pairs);
    assert!(fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| ()).is_ok());
}

/// A pair whose other end has been a member, too, is not such a half: what that end has redirected may be unread.
#[test]
fn an_end_with_redirected_bytes_that_are_unread_is_left_alone() {
    if !Feature::Adoption.required("half of a pair that was in use") {
        return;
    }
    let (fixture, listener) = (Fixture::new(), listener());
    let (client, server) = pair(&listener);
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| ());
    let pinned = Pinned::of(&fixture);
    let adopt = |looks: &mut Looks| fixture.instance().adopt(&Version::First.plane(), looks).unwrap();
    assert_eq!(adopt(&mut Looks::default()).pairs, 1);
    back_and_forth(&client, &server, &pattern(1, 500), 3);
    let before = StackBytes::of(&server).unwrap().sent;
    send(&server, &pattern(2, 500));
    assert_eq!(StackBytes::of(&server).unwrap().sent, before, "it takes the stack, so this says nothing");
    pinned.take_out(&server);
    adopt(&mut Looks::new(Duration::ZERO));
    assert_eq!(pinned.stands(&client), (true, true), "it is taken out, and its bytes are lost");
    expect(&client, &pattern(2, 500));
    drop((client, server));
    assert!(fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| ()).is_ok());
}
