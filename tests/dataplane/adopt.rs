//! Connections that exist when the data plane is attached become pairs, and pairs that have left come back.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use sidestep::agent::{Acceleration, Adopted, Looks, Marked, TierChoice, adoption_support, choose_tier};
use sidestep::dataplane::{Counter, Options, Pairing, Policy, PortRange, Readers};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::testbed::{Addresses, INBOUND_PORT, OUTBOUND_PORT, Pods, SIDECAR_ID, listen};

use crate::link::{ANY_PORT, Finish, accepted, back_and_forth, expect, expect_end, pair, pattern, send, wait};
use crate::nested::{NestedCgroups, describe};
use crate::support::feature::Feature;
use crate::support::machine::scale;
use crate::support::wait::{scaled, timeout, wait_for, wait_until};

/// The options of [`NestedCgroups::accelerate`].
fn options() -> Options {
    let (tier, _) = choose_tier(TierChoice::Gated).unwrap();
    Options { pairing: Pairing::Sequence, tier, readers: Readers::NonBlocking, policy: Policy::default() }
}

/// Whether this kernel must adopt; where it need not, it must say why it does not.
fn adopts(cgroups: &NestedCgroups, test: &str) -> bool {
    if Feature::Adoption.required(test) {
        return true;
    }
    let why = adoption_support(&options()).unwrap();
    assert!(why.contains("Linux 6.12"), "{why}");
    let refused = cgroups.accelerate(Pairing::Sequence).adopt(&options(), Marked::default(), &mut Looks::default());
    let error = refused.unwrap_err().to_string();
    assert!(error.contains(&why), "{error}");
    false
}

fn adopt(acceleration: &Acceleration) -> Adopted {
    adopt_by(acceleration, &options())
}

fn adopt_by(acceleration: &Acceleration, options: &Options) -> Adopted {
    acceleration.adopt(options, Marked::default(), &mut Looks::default()).unwrap()
}

fn redirected(acceleration: &Acceleration) -> u64 {
    acceleration.snapshot().unwrap().get(Counter::RedirectedMessages)
}

/// Whether messages of the pair go past the stack; the first one of each direction may not.
fn is_redirected(acceleration: &Acceleration, (client, server): &(TcpStream, TcpStream)) -> bool {
    back_and_forth(client, server, &pattern(8, 100), 1);
    let before = redirected(acceleration);
    back_and_forth(client, server, &pattern(9, 100), 5);
    redirected(acceleration) > before
}

fn connections(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = listen(ANY_PORT).unwrap();
    let to = listener.local_addr().unwrap();
    (0..count).map(|_| pair(&listener, to)).collect()
}

#[test]
fn connections_of_before_are_adopted_and_go_back_at_the_end() {
    let cgroups = NestedCgroups::new();
    if !adopts(&cgroups, "adoption") {
        return;
    }
    let pairs = connections(5);
    // One of them has not been used yet, and one has bytes that are unread.
    for (client, server) in &pairs[1..] {
        back_and_forth(client, server, &pattern(1, 1000), 3);
    }
    send(&pairs[1].0, &pattern(2, 3000));
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let adopted = adopt(&acceleration);
    assert_eq!((adopted.pairs, adopted.others), (5, 0), "{}", describe(&acceleration.snapshot().unwrap()));
    assert_eq!(acceleration.members().unwrap(), 10);
    send(&pairs[1].0, &pattern(3, 3000));
    expect(&pairs[1].1, &pattern(2, 3000));
    expect(&pairs[1].1, &pattern(3, 3000));
    for pair in &pairs {
        assert!(is_redirected(&acceleration, pair), "{}", describe(&acceleration.snapshot().unwrap()));
    }
    assert_eq!(adopt(&acceleration), Adopted::default(), "members are left alone");
    // One that blocks while it is made has not been in a pair, and need not wait until it is calm.
    let listener = listen(ANY_PORT).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let blocked = (client, accepted(&listener));
    assert_eq!(acceleration.snapshot().unwrap().get(Counter::Blocking), 1);
    assert_eq!(adopt(&acceleration), Adopted::default());
    blocked.0.set_nonblocking(true).unwrap();
    assert_eq!(adopt(&acceleration).pairs, 1);
    assert!(is_redirected(&acceleration, &blocked));
    // What was redirected and is unread is waited for.
    send(&pairs[2].0, &pattern(4, 500));
    std::thread::scope(|threads| {
        let stopped = threads.spawn(|| acceleration.stop(timeout()).unwrap());
        expect(&pairs[2].1, &pattern(4, 500));
        assert_eq!(stopped.join().unwrap().remaining, 0);
    });
    for (client, server) in &pairs {
        back_and_forth(client, server, &pattern(5, 1000), 3);
        client.shutdown(Shutdown::Write).unwrap();
        expect_end(server);
    }
}

#[test]
fn the_rules_for_new_connections_hold_for_those_of_before() {
    let cgroups = NestedCgroups::new();
    if !adopts(&cgroups, "what is adopted") {
        return;
    }
    let [fit, blocks, half_closed, excluded]: [_; 4] = connections(4).try_into().unwrap();
    let excluded_port = listen(ANY_PORT).unwrap();
    let to = excluded_port.local_addr().unwrap();
    drop(excluded);
    let excluded = pair(&excluded_port, to);
    blocks.1.set_nonblocking(false).unwrap();
    half_closed.0.shutdown(Shutdown::Write).unwrap();
    let inner = Cgroup::create(&cgroups.path().join("opted-out")).unwrap();
    crate::support::cgroup::enter(inner.path());
    let opted_out = connections(1).remove(0);
    cgroups.leave();
    let outside = connections(1).remove(0);
    cgroups.enter();
    let policy = Policy {
        opt_out: true,
        excluded_ports: vec![PortRange { first: to.port(), last: to.port() }],
        ..Policy::default()
    };
    let options = Options { policy: policy.clone(), ..options() };
    let opted_out_cgroups = [Cgroup::open(inner.path()).unwrap()];
    let acceleration = cgroups.accelerate_by(policy, Pairing::Sequence, TierChoice::Gated, &opted_out_cgroups);
    let marked = Marked { opted_out: &opted_out_cgroups, trusted: &[] };
    let looks = &mut Looks::default();
    let adopted = acceleration.adopt(&options, marked, looks).unwrap();
    assert_eq!(adopted.pairs, 1, "{adopted:?}");
    assert_eq!(acceleration.members().unwrap(), 2);
    assert!(is_redirected(&acceleration, &fit));
    for (client, server) in [&excluded, &opted_out, &outside] {
        let before = redirected(&acceleration);
        back_and_forth(client, server, &pattern(3, 100), 3);
        assert_eq!(redirected(&acceleration), before);
    }
    expect_end(&half_closed.1);
    // One that does not block any more is adopted at the next look.
    blocks.1.set_nonblocking(true).unwrap();
    assert_eq!(acceleration.adopt(&options, marked, looks).unwrap().pairs, 1);
    assert!(is_redirected(&acceleration, &blocks));
    drop((fit, blocks, half_closed, excluded, opted_out, outside));
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    crate::support::cgroup::remove([inner.path()]);
}

#[test]
fn namespaces_and_rewritten_addresses_do_not_matter() {
    let cgroups = NestedCgroups::new();
    if !adopts(&cgroups, "adoption between pods") {
        return;
    }
    let pods = Pods::new(false).unwrap();
    let Addresses { app, service, any, .. } = Addresses::V4;
    // To a sidecar that gets what was meant for a service, and from pod to pod, to a sidecar again.
    let to_app = pods.server.run(|| listen(SocketAddr::new(any, INBOUND_PORT)).unwrap()).unwrap();
    let to_sidecar = pods.client.run(|| listen(SocketAddr::new(any, OUTBOUND_PORT)).unwrap()).unwrap();
    let reached = |listener: &TcpListener, to| {
        let client = pods.client.run(|| sidestep::testbed::connect(to, None).unwrap()).unwrap();
        (client, accepted(listener))
    };
    let redirected_one = reached(&to_sidecar, service);
    // As the sidecar, whose connections the rules leave alone; the system call is for this thread alone.
    let become_user = |id: u32| {
        let same = u32::MAX;
        // SAFETY: a system call without addresses.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, same, id, same) }, 0);
    };
    let dial = || {
        become_user(SIDECAR_ID);
        let client = sidestep::testbed::connect(app, None);
        become_user(0);
        client.unwrap()
    };
    let between = (pods.client.run(dial).unwrap(), accepted(&to_app));
    for (client, server) in [&redirected_one, &between] {
        back_and_forth(client, server, &pattern(1, 100), 2);
    }
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    assert_eq!(adopt(&acceleration).pairs, 2, "{}", describe(&acceleration.snapshot().unwrap()));
    assert!(is_redirected(&acceleration, &redirected_one));
    assert!(is_redirected(&acceleration, &between));
}

/// Period of what streams carry: a prime, so that a shift by any power of two shows.
const PERIOD: usize = 65_521;
/// Sizes of writes, in turn.
const SIZES: [usize; 6] = [64, 900, 4096, 7, 16_384, 1500];

fn content(seed: u64) -> Vec<u8> {
    let mut bytes = pattern(seed, PERIOD);
    bytes.extend_from_within(..SIZES[4]);
    bytes
}

/// Writes until it is asked to stop, and says how much.
fn write(to: &TcpStream, seed: u64, stop: &AtomicBool) -> usize {
    let (content, mut sent) = (content(seed), 0);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (at, size) = (sent % PERIOD, SIZES[turn % SIZES.len()]);
        send(to, &content[at..at + size]);
        sent += size;
        // Two processors, and more to do on them than this.
        std::thread::sleep(Duration::from_micros(200));
    }
    to.shutdown(Shutdown::Write).unwrap();
    sent
}

/// Reads to the end, compares, and says how much it was.
fn read(mut from: &TcpStream, seed: u64) -> usize {
    let (content, mut received, mut buffer) = (content(seed), 0, vec![0; SIZES[4]]);
    loop {
        match std::io::Read::read(&mut from, &mut buffer) {
            Ok(0) => return received,
            Ok(read) => {
                assert!(content[received % PERIOD..].starts_with(&buffer[..read]), "other bytes than were sent");
                received += read;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(from, PollFlags::POLLIN),
            Err(error) => panic!("recv: {error}"),
        }
    }
}

/// Carries streams both ways at once until it is asked to stop.
fn stream((client, server): &(TcpStream, TcpStream), seed: u64, stop: &AtomicBool) {
    std::thread::scope(|threads| {
        let written =
            [(client, seed), (server, seed + 1)].map(|(to, seed)| threads.spawn(move || write(to, seed, stop)));
        let received = [(server, seed), (client, seed + 1)].map(|(from, seed)| threads.spawn(move || read(from, seed)));
        assert_eq!(received.map(|one| one.join().unwrap()), written.map(|one| one.join().unwrap()));
    });
}

/// Carries requests and answers until it is asked to stop.
fn exchange((client, server): &(TcpStream, TcpStream), seed: u64, stop: &AtomicBool) {
    for round in seed.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let request = pattern(round, 1 + round as usize * 37 % 5000);
        let (first, second) = request.split_at(request.len() / 2);
        send(client, first);
        send(client, second);
        expect(server, &request);
        send(server, &request[..1]);
        expect(client, &request[..1]);
    }
}

/// Attaches, adopts and detaches at random moments under traffic, so many times.
fn storm(cgroups: &NestedCgroups, rounds: u64) {
    let pairs = connections(6);
    let stop = AtomicBool::new(false);
    let stop = &stop;
    std::thread::scope(|threads| {
        let _stop_on_panic = Finish(stop);
        for (number, pair) in (0..).zip(&pairs) {
            let carry = if number % 3 == 2 { stream } else { exchange };
            threads.spawn(move || carry(pair, number << 40, stop));
        }
        let (mut adopted, mut past_the_stack) = (0, 0);
        let (start, mut round) = (Instant::now(), 0);
        // More rounds where the machine had no time for the connections in these.
        while round < rounds || (adopted == 0 || past_the_stack == 0) && start.elapsed() < timeout() {
            round += 1;
            let chance = pattern(round, 2);
            let acceleration = cgroups.accelerate(Pairing::Sequence);
            std::thread::sleep(Duration::from_micros(chance[0].into()) * 40);
            let found = adopt(&acceleration);
            assert!(found.pairs + found.others <= pairs.len(), "{found:?}");
            adopted += found.pairs;
            std::thread::sleep(Duration::from_micros(chance[1].into()) * 100);
            past_the_stack += redirected(&acceleration);
            assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0, "round {round}");
        }
        eprintln!("{round} rounds: {adopted} adopted, {past_the_stack} messages past the stack");
        assert!(adopted > 0 && past_the_stack > 0, "the storm never reached what it is about");
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn nothing_is_reordered_when_connections_are_adopted_at_random_moments() {
    let cgroups = NestedCgroups::new();
    if adopts(&cgroups, "adoption under traffic") {
        storm(&cgroups, if scale() < 1.0 { 2 } else { 4 });
    }
}

#[test]
#[ignore = "long: `cargo test --test dataplane -- --ignored adopted_for_long --nocapture`"]
fn nothing_is_reordered_when_connections_are_adopted_for_long() {
    let cgroups = NestedCgroups::new();
    assert!(adopts(&cgroups, "adoption under traffic"));
    storm(&cgroups, 400);
}

/// One message after the other without an answer, until the pair has left.
fn stream_until_it_leaves(acceleration: &Acceleration, (client, server): &(TcpStream, TcpStream)) {
    let before = acceleration.snapshot().unwrap().get(Counter::Unenrolled);
    wait_until("a stream leaves", || {
        for round in 0..600 {
            send(client, &pattern(round, 100));
            expect(server, &pattern(round, 100));
        }
        // An answer, and with it a callback at either end.
        back_and_forth(client, server, b"answer", 1);
        acceleration.snapshot().unwrap().get(Counter::Unenrolled) > before
    });
}

#[test]
fn a_pair_that_carried_a_stream_comes_back_when_it_is_calm_and_does_not_flap() {
    let cgroups = NestedCgroups::new();
    if !adopts(&cgroups, "pairs that come back") {
        return;
    }
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let calm = scaled(Duration::from_millis(40));
    let mut looks = Looks::new(calm);
    let mut look = || acceleration.adopt(&options(), Marked::default(), &mut looks).unwrap().pairs;
    let one = connections(1).remove(0);
    // What Nagle's algorithm gathers.
    nix::sys::socket::setsockopt(&one.0, nix::sys::socket::sockopt::TcpNoDelay, &false).unwrap();
    assert!(is_redirected(&acceleration, &one));
    let mut waits = Vec::new();
    for _ in 0..3 {
        stream_until_it_leaves(&acceleration, &one);
        assert_eq!(acceleration.members().unwrap(), 0);
        let start = Instant::now();
        assert_eq!(look(), 0, "it has not been seen to be calm");
        wait_for(|| {
            back_and_forth(&one.0, &one.1, &pattern(1, 300), 3);
            if look() == 1 { Ok(()) } else { Err("it does not come back") }
        });
        waits.push(start.elapsed());
        assert_eq!(acceleration.members().unwrap(), 2);
        assert!(is_redirected(&acceleration, &one), "{}", describe(&acceleration.snapshot().unwrap()));
    }
    for (returns, wait) in (0..).zip(&waits) {
        assert!(*wait >= calm * (1 << returns), "{waits:?}");
    }
    // While it carries a stream it does not come back.
    stream_until_it_leaves(&acceleration, &one);
    let start = Instant::now();
    while start.elapsed() < calm * 10 {
        for round in 0..300 {
            send(&one.0, &pattern(round, 1000));
            expect(&one.1, &pattern(round, 1000));
        }
        assert_eq!(look(), 0);
    }
}
