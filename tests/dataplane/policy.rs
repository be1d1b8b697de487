//! What the policy leaves alone never enters the sockhash, and the rest is accelerated as without it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::poll::PollFlags;
use sidestep::agent::{Acceleration, TierChoice};
use sidestep::dataplane::{Counter, Direction, Pairing, Policy, Servers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::{StackBytes, connect, listen};

use crate::link::{accepted, expect, pair, pattern, send, wait};
use crate::nested::{NestedCgroups, describe, pairings, tiers};
use crate::support::cgroup::enter;
use crate::support::wait::wait_until;

/// A listener on any port of `address`.
fn listener(address: impl Into<std::net::IpAddr>) -> TcpListener {
    listen(SocketAddr::new(address.into(), 0)).unwrap()
}

/// Both ends talk; the segments with data that (client, server) have sent meanwhile.
fn talk(client: &TcpStream, server: &TcpStream) -> (u64, u64) {
    for round in 0..5 {
        let (there, back) = (pattern(round, 700), pattern(round + 100, 900));
        send(client, &there);
        expect(server, &there);
        send(server, &back);
        expect(client, &back);
    }
    [client, server].map(|end| StackBytes::of(end).unwrap().data_segments.into()).into()
}

fn assert_accelerated(acceleration: &Acceleration, listener: &TcpListener, to: SocketAddr, what: &str) {
    let before = acceleration.members().unwrap();
    let (client, server) = pair(listener, to);
    assert_eq!(acceleration.members().unwrap(), before + 2, "{what}");
    assert_eq!(talk(&client, &server), (0, 0), "{what}: segments with data");
}

fn assert_left_alone(acceleration: &Acceleration, listener: &TcpListener, to: SocketAddr, what: &str) {
    let before = (acceleration.members().unwrap(), acceleration.snapshot().unwrap());
    let (client, server) = pair(listener, to);
    assert_eq!(acceleration.members().unwrap(), before.0, "{what}");
    let (up, down) = talk(&client, &server);
    assert!(up > 0 && down > 0, "{what}: {up} and {down} segments with data");
    let after = acceleration.snapshot().unwrap();
    assert_eq!(after.get(Counter::Excluded), before.1.get(Counter::Excluded) + 2, "{what}: {}", describe(&after));
}

#[test]
fn ports_decide() {
    let cgroups = NestedCgroups::new();
    let [wanted, unwanted] = [(); 2].map(|()| listener(Ipv4Addr::LOCALHOST));
    let [wanted_at, unwanted_at] = [&wanted, &unwanted].map(|listener| listener.local_addr().unwrap());
    let port = |at: SocketAddr| at.port().to_string().parse().unwrap();
    for pairing in pairings() {
        let only = Policy { ports: vec![port(wanted_at)], ..Policy::default() };
        let not = Policy { excluded_ports: vec![port(unwanted_at)], ..Policy::default() };
        let both = Policy { ports: vec!["1-65535".parse().unwrap()], ..not.clone() };
        for policy in [only, not, both] {
            let what = format!("{pairing:?} {policy:?}");
            let acceleration = cgroups.accelerate_by(policy, pairing, TierChoice::Gated, &[]);
            assert_accelerated(&acceleration, &wanted, wanted_at, &what);
            assert_left_alone(&acceleration, &unwanted, unwanted_at, &what);
        }
    }
}

/// The client of what is left alone waits for its first message, which finds no partner.
#[test]
fn the_end_of_the_server_decides_by_port_or_by_address() {
    let cgroups = NestedCgroups::new();
    let [named, other] = [(); 2].map(|()| listener(Ipv4Addr::LOCALHOST));
    let [named_at, other_at] = [&named, &other].map(|listener| listener.local_addr().unwrap());
    let from = Ipv4Addr::new(127, 0, 0, 6);
    let servers = Servers {
        ports: vec![named_at.port().to_string().parse().unwrap()],
        networks: vec!["127.0.0.6".parse().unwrap(), "::6".parse().unwrap()],
    };
    for pairing in pairings() {
        let policy = Policy { servers: servers.clone(), ..Policy::default() };
        let acceleration = cgroups.accelerate_by(policy, pairing, TierChoice::Gated, &[]);
        assert_accelerated(&acceleration, &named, named_at, "named by port");
        let client = connect(other_at, Some(from.into())).unwrap();
        wait(&client, PollFlags::POLLOUT);
        assert_eq!(talk(&client, &accepted(&other)), (0, 0), "named by address");
        drop(client);
        wait_until("closed connections have left", || acceleration.members().unwrap() == 0);
        let (client, server) = pair(&other, other_at);
        let (up, down) = talk(&client, &server);
        assert!(up > 0 && down > 0, "not named: {up} and {down} segments with data");
        assert_eq!(acceleration.members().unwrap(), 0, "not named");
        let counters = acceleration.snapshot().unwrap();
        assert_eq!(counters.get(Counter::Excluded), 1, "{}", describe(&counters));
    }
}

#[test]
fn networks_decide() {
    let cgroups = NestedCgroups::new();
    let (first, second) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let v4 = listener(Ipv4Addr::UNSPECIFIED);
    let v6 = listener(Ipv6Addr::LOCALHOST);
    // Of both families, which listeners of the testbed are not.
    let all = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let networks = |text: &str| text.split(',').map(|part| part.parse().unwrap()).collect();
    let at = |listener: &TcpListener, ip: std::net::IpAddr| SocketAddr::new(ip, listener.local_addr().unwrap().port());
    let to_first = (&v4, at(&v4, first.into()));
    let to_second = (&v4, at(&v4, second.into()));
    let to_v6 = (&v6, at(&v6, Ipv6Addr::LOCALHOST.into()));
    let mapped = (&all, at(&all, second.to_ipv6_mapped().into()));
    // The lists, what they admit, and what they leave alone. A client of 127.0.0.2 is 127.0.0.1.
    let cases = [
        ("127.0.0.2", "", vec![to_second, mapped], vec![to_first, to_v6]),
        ("127.0.0.0/8", "", vec![to_first, to_second, mapped], vec![to_v6]),
        ("::1/128", "", vec![to_v6], vec![to_first, mapped]),
        ("", "127.0.0.2/31", vec![to_first, to_v6], vec![to_second, mapped]),
        ("", "::/96", vec![to_first, mapped], vec![to_v6]),
        ("0.0.0.0/0", "127.0.0.2", vec![to_first], vec![to_second, to_v6, mapped]),
    ];
    for (included, excluded, admitted, left_alone) in cases {
        let list = |text: &str| if text.is_empty() { Vec::new() } else { networks(text) };
        let policy = Policy { networks: list(included), excluded_networks: list(excluded), ..Policy::default() };
        let acceleration = cgroups.accelerate_by(policy, Pairing::Sequence, TierChoice::Gated, &[]);
        for (listener, to) in admitted {
            assert_accelerated(&acceleration, listener, to, &format!("{to} by {included:?} without {excluded:?}"));
        }
        for (listener, to) in left_alone {
            assert_left_alone(&acceleration, listener, to, &format!("{to} by {included:?} without {excluded:?}"));
        }
    }
}

#[test]
fn one_direction_takes_the_stack() {
    let cgroups = NestedCgroups::new();
    let listener = listener(Ipv4Addr::LOCALHOST);
    let to = listener.local_addr().unwrap();
    for tier in tiers() {
        for direction in [Direction::ToActive, Direction::ToPassive] {
            let policy = Policy { direction, ..Policy::default() };
            let acceleration = cgroups.accelerate_by(policy, Pairing::Sequence, tier, &[]);
            let (client, server) = pair(&listener, to);
            let (up, down) = talk(&client, &server);
            let counters = acceleration.snapshot().unwrap();
            let stack = match direction {
                Direction::ToActive => up > 0 && down == 0,
                _ => up == 0 && down > 0,
            };
            assert!(stack, "{tier:?} {direction:?}: {up} up, {down} down: {}", describe(&counters));
            assert_eq!(counters.get(Counter::PassDirection), 5, "{tier:?} {direction:?}: {}", describe(&counters));
        }
    }
}

/// A cgroup below the accelerated one, and one below that; they go with it.
fn pod(cgroups: &NestedCgroups) -> [PathBuf; 2] {
    let pod = cgroups.path().join("pod");
    let paths = [pod.clone(), pod.join("container")];
    for path in &paths {
        Cgroup::create(path).unwrap();
    }
    paths
}

#[test]
fn a_pod_opts_out_with_all_below_it() {
    let cgroups = NestedCgroups::new();
    let pod = pod(&cgroups);
    let policy = Policy { opt_out: true, ..Policy::default() };
    let opted_out = [Cgroup::open(&pod[0]).unwrap()];
    for pairing in pairings() {
        let acceleration = cgroups.accelerate_by(policy.clone(), pairing, TierChoice::Gated, &opted_out);
        let outside = listener(Ipv4Addr::LOCALHOST);
        let outside_at = outside.local_addr().unwrap();
        assert_accelerated(&acceleration, &outside, outside_at, "outside");
        for path in &pod {
            let what = path.display().to_string();
            enter(path);
            let inside = listener(Ipv4Addr::LOCALHOST);
            let inside_at = inside.local_addr().unwrap();
            assert_left_alone(&acceleration, &inside, inside_at, &what);
            // From the pod to the outside: the pod's end is left alone, the other finds no partner.
            let (client, server) = pair(&outside, outside_at);
            assert_eq!(acceleration.members().unwrap(), 0, "{what}");
            talk(&client, &server);
            cgroups.enter();
            // From the outside into the pod: the client is on probation until it has sent something.
            let (client, server) = pair(&inside, inside_at);
            assert_eq!(acceleration.members().unwrap(), 1, "{what}");
            let (up, down) = talk(&client, &server);
            assert!(up > 0 && down > 0, "{what}");
            assert_eq!(acceleration.members().unwrap(), 0, "{what}");
        }
        let counters = acceleration.snapshot().unwrap();
        assert_eq!(counters.get(Counter::Excluded), 2 * 4, "{}", describe(&counters));
    }
    cgroups.enter();
}

#[test]
fn a_member_that_connects_again_to_an_excluded_port_leaves() {
    let cgroups = NestedCgroups::new();
    let [wanted, unwanted] = [(); 2].map(|()| listener(Ipv4Addr::LOCALHOST));
    let unwanted_at = unwanted.local_addr().unwrap();
    let policy = Policy { excluded_ports: vec![unwanted_at.port().to_string().parse().unwrap()], ..Policy::default() };
    let acceleration = cgroups.accelerate_by(policy, Pairing::Sequence, *tiers().last().unwrap(), &[]);
    let client = connect(wanted.local_addr().unwrap(), None).unwrap();
    wait(&client, PollFlags::POLLOUT);
    let old_peer = accepted(&wanted);
    assert_eq!(talk(&client, &old_peer), (0, 0));
    assert_eq!(acceleration.members().unwrap(), 2);

    let no_peer = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    // SAFETY: the address is that of a live `sockaddr` of the given length.
    let result = unsafe { libc::connect(client.as_raw_fd(), &no_peer, size_of_val(&no_peer) as u32) };
    assert_eq!(result, 0, "connect(AF_UNSPEC)");
    // EINPROGRESS; established when writable.
    let _ = nix::sys::socket::connect(client.as_raw_fd(), &nix::sys::socket::SockaddrStorage::from(unwanted_at));
    wait(&client, PollFlags::POLLOUT);
    let server = accepted(&unwanted);
    assert_eq!(acceleration.members().unwrap(), 1, "only the old peer is still in the sockhash");
    let (up, down) = talk(&client, &server);
    assert!(up > 0 && down > 0, "{up} and {down} segments with data");
    let counters = acceleration.snapshot().unwrap();
    assert_eq!(counters.get(Counter::Excluded), 2, "{}", describe(&counters));
}
