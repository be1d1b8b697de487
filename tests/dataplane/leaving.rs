//! Some connections are sent back to the stack while the others go on.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidestep::agent::{Acceleration, StateReader, kernel_offsets};
use sidestep::dataplane::{Counter, MapRole, Member};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, Finish, back_and_forth, expect, pair, pattern, send};
use crate::nested::{NestedCgroups, pairings};
use crate::support::cgroup::{enter, remove};
use crate::support::wait::{timeout, wait_for, wait_until};

/// A pair whose client and server belong to these cgroups.
fn pair_of(client: &Path, server: &Path) -> (TcpStream, TcpStream) {
    enter(server);
    let listener = listen(ANY_PORT).unwrap();
    let to = listener.local_addr().unwrap();
    enter(client);
    pair(&listener, to)
}

/// Carries messages one way until it is asked to stop, each read and compared.
fn carry((client, server): &(TcpStream, TcpStream), seed: u64, stop: &AtomicBool) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for part in 0..3 {
            send(client, &pattern(seed + round * 3 + part, 900));
        }
        for part in 0..3 {
            expect(server, &pattern(seed + round * 3 + part, 900));
        }
        send(server, b"!");
        expect(client, b"!");
    }
}

fn redirected(acceleration: &Acceleration) -> u64 {
    acceleration.snapshot().unwrap().get(Counter::RedirectedMessages)
}

/// How many sockets that are to leave are still in the sockhash, after traffic where only that takes them out.
fn left(acceleration: &Acceleration, pairs: &[&(TcpStream, TcpStream)], chosen: &dyn Fn(&Member) -> bool) -> usize {
    let left = acceleration.leave(chosen, timeout()).unwrap();
    if kernel_offsets().unwrap().iterators_have_storage {
        return left;
    }
    for (client, server) in pairs {
        back_and_forth(client, server, &pattern(5, 10), 3);
    }
    acceleration.leave(chosen, timeout()).unwrap()
}

#[test]
fn the_connections_of_one_cgroup_leave_under_traffic_and_the_others_go_on() {
    let cgroups = NestedCgroups::new();
    let [one, two] = ["one", "two"].map(|name| Cgroup::create(&cgroups.path().join(name)).unwrap());
    let below = Cgroup::create(&one.path().join("below")).unwrap();
    let id = one.id().unwrap();
    let chosen = |member: &Member| member.cgroups.contains(&id);
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let leaving = [pair_of(below.path(), below.path()), pair_of(one.path(), two.path())];
        let idle = pair_of(two.path(), one.path());
        let staying = pair_of(two.path(), two.path());
        for (client, server) in leaving.iter().chain([&idle, &staying]) {
            back_and_forth(client, server, &pattern(1, 100), 5);
        }
        assert_eq!(acceleration.members().unwrap(), 8);
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let _stop_on_panic = Finish(&stop);
            let streams: Vec<_> = leaving
                .iter()
                .chain([&staying])
                .zip(1..)
                .map(|(pair, seed)| {
                    threads.spawn({
                        let stop = &stop;
                        move || carry(pair, seed * 1_000_000, stop)
                    })
                })
                .collect();
            let before = redirected(&acceleration);
            wait_until("messages are redirected", || redirected(&acceleration) > before + 100);
            assert_eq!(left(&acceleration, &[&idle], &chosen), 0);
            assert_eq!(acceleration.members().unwrap(), 2, "only the pair stays that has no end in the cgroup");
            let before = redirected(&acceleration);
            wait_until("the others are redirected as before", || redirected(&acceleration) > before + 100);
            stop.store(true, Ordering::Relaxed);
            streams.into_iter().for_each(|stream| stream.join().unwrap());
        });
        let before = redirected(&acceleration);
        for (client, server) in leaving.iter().chain([&idle]) {
            back_and_forth(client, server, &pattern(2, 3000), 5);
        }
        assert_eq!(redirected(&acceleration), before, "a connection that has left is redirected");
        assert_eq!(acceleration.members().unwrap(), 2);
        // One that is made later is accelerated as any other.
        let later = pair_of(one.path(), one.path());
        back_and_forth(&later.0, &later.1, &pattern(3, 100), 5);
        assert!(redirected(&acceleration) > before);
        drop((leaving, idle, staying, later));
        cgroups.enter();
    }
    remove([below.path(), one.path(), two.path()]);
}

#[test]
fn unread_bytes_are_waited_for_and_addresses_choose_too() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listeners: [TcpListener; 2] = std::array::from_fn(|_| listen(ANY_PORT).unwrap());
        let to = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let ipv6 = listen(SocketAddr::new("::1".parse().unwrap(), 0)).unwrap();
        let chosen_ones = [pair(&listeners[0], to[0]), pair(&ipv6, ipv6.local_addr().unwrap())];
        let (client, server) = pair(&listeners[1], to[1]);
        for (client, server) in &chosen_ones {
            back_and_forth(client, server, &pattern(1, 100), 5);
        }
        back_and_forth(&client, &server, &pattern(1, 100), 5);
        let chosen = |member: &Member| {
            let ends = [member.local, member.remote];
            ends.contains(&to[0]) || ends.iter().any(SocketAddr::is_ipv6)
        };
        let before = redirected(&acceleration);
        for (client, _) in &chosen_ones {
            send(client, &pattern(4, 4000));
        }
        assert!(redirected(&acceleration) > before, "not redirected, so that the test says nothing");
        let left_now = acceleration.leave(&chosen, Duration::from_millis(300)).unwrap();
        assert!(left_now >= 2, "{left_now} sockets with unread bytes are left");
        for (client, server) in &chosen_ones {
            send(client, &pattern(5, 3000));
            expect(server, &pattern(4, 4000));
            expect(server, &pattern(5, 3000));
        }
        assert_eq!(left(&acceleration, &chosen_ones.each_ref(), &chosen), 0);
        wait_for(|| match acceleration.members().unwrap() {
            2 => Ok(()),
            members => Err(format!("{members} members")),
        });
        let before = redirected(&acceleration);
        back_and_forth(&client, &server, &pattern(6, 100), 5);
        assert!(redirected(&acceleration) > before, "the other connection is not redirected");
        let states = StateReader::new(acceleration.loaded().map(MapRole::Storage)).unwrap().read().unwrap();
        assert_eq!(states.iter().filter(|state| state.is_leaving).count(), 4, "{states:?}");
    }
}
