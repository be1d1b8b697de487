//! Readers that may ask FIONREAD how much there is, where it does not see what was redirected: recognised by what
//! they have registered with epoll. Real ones are in tests/servers.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Counter, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::listen;

use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::nested::{NestedCgroups, describe};

const EDGE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

/// What a program gets back with its events, given the descriptor that it watches.
type Data = fn(u64) -> u64;

/// An address on the heap, as nginx and tokio keep it; the descriptor, as libevent does; an address in the upper bits and a
/// tag below, as Go's poller does.
const ADDRESS: Data = |_| 0x55c7_db8e_4f30;
const DESCRIPTOR: Data = |fd| fd;
const TAGGED: Data = |_| 0x7f3a_9c5d_e010_0001;

/// As on a kernel whose FIONREAD does not see redirected bytes, or on another.
fn accelerate(cgroups: &NestedCgroups, spare_askers: bool) -> Acceleration {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    let policy = Policy::default();
    let options = Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy };
    let config = Config { spare_askers, ..Config::default() };
    Acceleration::start(&Cgroup::open(&cgroups.path()).unwrap(), options, config).unwrap()
}

#[test]
fn an_edge_triggered_reader_with_an_address_is_left_alone() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    for (name, flags, data, stays) in [
        ("nginx", EDGE, ADDRESS, false),
        ("libevent", EDGE, DESCRIPTOR, true),
        ("Go", EDGE, TAGGED, true),
        ("level-triggered", EpollFlags::EPOLLIN, ADDRESS, true),
    ] {
        for spare_askers in [true, false] {
            let acceleration = accelerate(&cgroups, spare_askers);
            let (client, server) = pair(&listener, listener.local_addr().unwrap());
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            let fd = server.as_fd().as_raw_fd();
            epoll.add(&server, EpollEvent::new(flags, data(fd.unsigned_abs().into()))).unwrap();
            back_and_forth(&client, &server, &pattern(8, 500), 20);
            let counters = acceleration.snapshot().unwrap();
            let context = format!("{name}, spared: {spare_askers}: {}", describe(&counters));
            let members = if stays || !spare_askers { 2 } else { 0 };
            assert_eq!(acceleration.members().unwrap(), members, "{context}");
            let redirected = counters.get(Counter::RedirectedMessages);
            assert!(if members == 2 { redirected > 30 } else { redirected <= 1 }, "{context}");
        }
    }
}

#[test]
fn a_reader_that_nothing_is_known_of_gets_the_stack_until_it_has_answered() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let acceleration = accelerate(&cgroups, true);
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    back_and_forth(&client, &server, &pattern(9, 500), 20);
    let counters = acceleration.snapshot().unwrap();
    assert!(counters.get(Counter::PassUnaccepted) > 0, "{}", describe(&counters));
    assert!(counters.get(Counter::RedirectedMessages) > 30, "{}", describe(&counters));
}
