//! The soak: connections of every kind, by the tens of thousands here and by the million on request
//! (`SIDESTEP_SOAK=1000000`), every byte compared, and afterwards nothing of them left in the kernel.

mod blocking;
mod client;
mod plan;
mod residue;
mod server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use sidestep::dataplane::{Counter, MapRole};
use sidestep::testbed::{NetNs, listen};

use crate::link::Finish;
use crate::machine;
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::timeout;
use plan::{Kind, Place, Plan};
use residue::Residue;

/// Connections of the short form; fewer where the machine is emulated.
const CONNECTIONS: usize = 60_000;
/// Of how many connections one is made by a blocking client.
const BLOCKING_SHARE: usize = 8;
/// Threads of blocking clients, and of blocking servers.
const BLOCKING_THREADS: usize = 3;
/// Listeners of each place, so that ports in TIME_WAIT do not run out.
const PORTS: u16 = 8;

/// How many connections to make.
fn connections() -> usize {
    if let Some(count) = std::env::var("SIDESTEP_SOAK").ok().and_then(|text| text.parse().ok()) {
        return count;
    }
    (CONNECTIONS as f64 * machine::scale()) as usize
}

/// The listeners of each place, in both families.
struct Listeners {
    inside: Vec<TcpListener>,
    outside: Vec<TcpListener>,
    blocking: Vec<TcpListener>,
}

impl Listeners {
    /// Connections belong to the cgroup that their listener was made in.
    fn new(cgroups: &NestedCgroups) -> Self {
        let open = |first: u16| -> Vec<TcpListener> {
            let families = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let all = families.into_iter().flat_map(|ip| (first..first + PORTS).map(move |port| (ip, port)));
            all.map(|(ip, port)| listen(SocketAddr::new(ip, port)).unwrap()).collect()
        };
        cgroups.leave();
        let outside = open(9200);
        cgroups.enter();
        Self { inside: open(9000), outside, blocking: open(9100) }
    }

    /// Where a plan's connection goes.
    fn target(&self, plan: &Plan) -> SocketAddr {
        let listeners = match plan.place {
            Place::Inside => &self.inside,
            Place::Outside => &self.outside,
            Place::Blocking => &self.blocking,
            // Port 1 (tcpmux): there is no listener in this namespace.
            Place::Closed => {
                let ip: IpAddr = if plan.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
                return SocketAddr::new(ip, 1);
            }
        };
        let port = plan.seed as usize % usize::from(PORTS) + if plan.ipv6 { usize::from(PORTS) } else { 0 };
        listeners[port].local_addr().unwrap()
    }
}

#[test]
fn a_soak_of_mixed_connections_loses_nothing_and_leaves_nothing() {
    let cgroups = NestedCgroups::new();
    let pairings = pairings();
    let count = connections() / pairings.len();
    let before = Residue::now();
    for pairing in pairings {
        let acceleration = cgroups.accelerate(pairing);
        let objects = residue::objects(&acceleration);
        let space = NetNs::with_loopback().unwrap();
        let start = Instant::now();
        let tally = space.run(|| soak(&cgroups, count)).unwrap();
        let elapsed = start.elapsed();
        eprintln!(
            "{pairing:?}: {count} connections in {elapsed:?} ({:.0} a second)",
            count as f64 / elapsed.as_secs_f64()
        );
        eprintln!("{}", tally.describe());
        let counters = acceleration.snapshot().unwrap();
        eprintln!("{}", describe(&counters));
        for counter in
            [Counter::Paired, Counter::Unenrolled, Counter::Blocking, Counter::RedirectedMessages, Counter::PassedBytes]
        {
            assert!(counters.get(counter) > 0, "the soak never reached {}", counter.name());
        }
        // Sockets leave the map as they close; those that were closed last, after a grace period.
        residue::wait_for("members of the sockhash", || acceleration.members().unwrap());
        // No socket took them: an LRU, so they make room for others.
        let waiting = acceleration.loaded().map(MapRole::Rendezvous).keys().count();
        eprintln!("{waiting} connections ended before anybody could claim them");
        assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
        // A psock holds its program, and socket storage its map: with these gone, so are all of them.
        residue::wait_for("programs and maps", || residue::still_there(&objects));
    }
    before.compare(count);
}

fn soak(cgroups: &NestedCgroups, count: usize) -> plan::Tally {
    std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").unwrap();
    // Without a bound, the last minute's connections would fill the table of this namespace.
    std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "20000").unwrap();
    let listeners = Listeners::new(cgroups);
    let done = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let tally = plan::Tally::default();
    std::thread::scope(|threads| {
        let (listeners, done, next, tally) = (&listeners, &done, &next, &tally);
        for own in [&listeners.inside, &listeners.outside] {
            threads.spawn(move || server::serve(own, done));
        }
        for _ in 0..BLOCKING_THREADS {
            threads.spawn(move || blocking::serve(&listeners.blocking, done));
        }
        let _finish = Finish(done);
        std::thread::scope(|clients| {
            for _ in 0..BLOCKING_THREADS {
                clients.spawn(move || {
                    let first = count - count / BLOCKING_SHARE;
                    let numbers =
                        || Some(first + next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
                    while let Some(number) = numbers() {
                        blocking::run(&Plan::new(number as u64), listeners, tally);
                    }
                });
            }
            client::run(count - count / BLOCKING_SHARE, listeners, tally);
        });
    });
    assert_eq!(tally.total(), count as u64, "connections made");
    for kind in Kind::ALL {
        assert!(tally.of(kind) > 0, "no connection was {kind:?}");
    }
    tally
}
