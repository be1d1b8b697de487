//! Half of an adoption: an agent was killed after it had put one end of a pair into the sockhash, and before the other. The test takes the
//! other one out instead. The next look of an agent makes both plain TCP, and a later one adopts them.

use std::time::Duration;

use sidestep::agent::Looks;
use sidestep::agent::lifecycle::Leftovers;
use sidestep::testbed::StackBytes;

use crate::fixture::{DRAIN, Fixture, Version, ensure};
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
    assert!(fixture.instance().detach(DRAIN, Leftovers::Keep, None, &mut |_| ()).is_ok());
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
    assert!(fixture.instance().detach(DRAIN, Leftovers::Keep, None, &mut |_| ()).is_ok());
}
