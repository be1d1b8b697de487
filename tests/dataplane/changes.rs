//! What the programs report of connections, and what each socket keeps of itself.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use sidestep::agent::{Acceleration, ChangeWatch, StateReader};
use sidestep::dataplane::{Change, ChangeKind, Counter, MapRole, Pairing, SocketState, Standing};
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, back_and_forth, exchange_patterns, pair, pattern};
use crate::nested::{NestedCgroups, pairings};
use crate::support::wait::{timeout, wait_for, wait_until};

/// Waits until `enough` of what was heard.
fn hear(watch: &mut ChangeWatch, heard: &mut Vec<Change>, enough: impl Fn(&[Change]) -> bool) {
    wait_for(|| {
        heard.extend(watch.drain());
        if enough(heard) { Ok(()) } else { Err(format!("{heard:?}")) }
    });
}

fn states(acceleration: &Acceleration) -> Vec<SocketState> {
    StateReader::new(acceleration.loaded().map(MapRole::Storage)).unwrap().read().unwrap()
}

/// Of all sockets that the programs know.
fn cookies(acceleration: &Acceleration) -> BTreeSet<u64> {
    states(acceleration).iter().map(|one| one.cookie).collect()
}

#[test]
fn a_watcher_hears_of_pairs_that_leave_and_close_and_nothing_is_reported_without_one() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listener = listen(ANY_PORT).unwrap();
        let to = listener.local_addr().unwrap();
        let unseen = pair(&listener, to);
        let of_unseen = cookies(&acceleration);
        let mut watch = acceleration.loaded().watch_changes().unwrap();
        assert_eq!(watch.drain(), [], "nothing is reported before a process watches");

        let mut heard = Vec::new();
        let (client, server) = pair(&listener, to);
        hear(&mut watch, &mut heard, |heard| heard.iter().any(|one| one.kind == ChangeKind::Paired));
        let paired = heard.remove(0);
        assert_eq!((paired.local, paired.remote), (to, client.local_addr().unwrap()));
        assert!(paired.cookie != 0 && paired.peer_cookie != 0, "{paired:?}");
        back_and_forth(&client, &server, &pattern(1, 5000), 5);
        let sent = acceleration.snapshot().unwrap();

        let all = states(&acceleration);
        let ends: Vec<_> = all.iter().filter(|one| [paired.cookie, paired.peer_cookie].contains(&one.cookie)).collect();
        assert_eq!(ends.len(), 2, "{all:?}");
        assert!(ends.iter().any(|one| one.standing == Standing::Paired), "{ends:?}");
        let redirected: u64 = ends.iter().map(|one| one.traffic.redirected_bytes).sum();
        assert_eq!(redirected, sent.get(Counter::RedirectedBytes), "each byte is counted at its socket");

        // A server that blocks makes its pair leave, and the report says why. Before Linux 6.2 no look is taken any more
        // once a message has been redirected.
        heard.clear();
        let (client, server) = pair(&listener, to);
        server.set_nonblocking(false).unwrap();
        exchange_patterns(&client, &server, 700, 20);
        hear(&mut watch, &mut heard, |heard| heard.iter().any(|one| one.kind == ChangeKind::Left));
        let left = heard.iter().find(|one| one.kind == ChangeKind::Left).unwrap();
        assert_eq!(left.traffic.leaving.or(left.traffic.last_reason), Some(Counter::PassBlocking), "{left:?}");
        let all = states(&acceleration);
        let ends: Vec<_> = all.iter().filter(|one| [left.cookie, left.peer_cookie].contains(&one.cookie)).collect();
        assert!(ends.iter().any(|one| one.standing == Standing::Plain), "{ends:?}");
        assert!(ends.iter().any(|one| one.traffic.leaving == Some(Counter::PassBlocking)), "{ends:?}");

        heard.clear();
        let stay = cookies(&acceleration).difference(&of_unseen).copied().collect::<BTreeSet<_>>();
        let (client, server) = pair(&listener, to);
        back_and_forth(&client, &server, &pattern(2, 500), 2);
        let address = client.local_addr().unwrap();
        drop((client, server));
        hear(&mut watch, &mut heard, |heard| {
            heard.iter().any(|one| one.kind == ChangeKind::Closed && one.local == address)
        });
        let closed = heard.iter().find(|one| one.kind == ChangeKind::Closed).unwrap();
        assert!(closed.traffic.redirected_messages + closed.traffic.passed_messages > 0, "{closed:?}");
        assert_eq!(watch.lost().unwrap(), 0);

        drop(watch);
        drop(unseen);
        // What has closed may end later, and would be reported then.
        wait_until("all that have closed are gone", || cookies(&acceleration).is_subset(&stay));
        let mut watch = acceleration.loaded().watch_changes().unwrap();
        assert_eq!(watch.drain(), [], "a watcher that has ended is not reported to");
    }
}

#[test]
fn changes_that_find_no_room_are_counted_and_no_connection_waits_for_a_watcher() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate_with(Pairing::Sequence, sidestep::agent::TierChoice::Gated, |plane| {
        plane.maps[MapRole::Changes as usize].max_entries = 4096;
    });
    let mut watch = acceleration.loaded().watch_changes().unwrap();
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut made = 0;
    let deadline = Instant::now() + timeout();
    while acceleration.snapshot().unwrap().get(Counter::ChangesLost) == 0 {
        assert!(Instant::now() < deadline, "{made} connections");
        let kept: Vec<_> = (0..10).map(|_| pair(&listener, listener.local_addr().unwrap())).collect();
        made += kept.len();
        watch.renew().unwrap();
    }
    // 4096 bytes hold 34 records of 112 bytes and their headers of 8.
    assert!(watch.lost().unwrap() > 0 && made >= 10);
    assert!(watch.drain().len() >= 30);
}

#[test]
fn a_watcher_that_does_not_come_back_is_forgotten() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let watch = acceleration.loaded().watch_changes().unwrap();
    // As if it had been killed.
    std::mem::forget(watch);
    std::thread::sleep(Duration::from_millis(3200));
    let listener = listen(ANY_PORT).unwrap();
    let _kept = pair(&listener, listener.local_addr().unwrap());
    let changes = acceleration.loaded().map(MapRole::Changes).try_clone().unwrap();
    let mut ring = sidestep::syscall::RingBuffer::new(changes).unwrap();
    let mut found = 0;
    ring.drain(|_| found += 1);
    assert_eq!(found, 0, "its time is over");
}
