//! 50,000 sockets are seen, and their ends are joined, in less than a second of processor time.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sidestep::observe::Observer;
use sidestep::testbed::NetNs;

use crate::support::child::{ChildGuard, this_test};
use crate::support::machine::{Turn, is_guest};

/// Processes that have the sockets open, since one may have only so many descriptors, and connections of each.
const HOLDERS: usize = 5;
const CONNECTIONS: usize = 5_000;
/// Of processor time.
const LIMIT: Duration = Duration::from_secs(1);
/// What else shares the processor's caches costs time, and more so in one look than in another. One of so many must be quick enough.
const LOOKS: usize = 9;
/// The line by which a holder says that it has all.
const READY: &str = "all are open";

/// Lets this process have so many descriptors.
fn allow(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the addresses are those of a live structure of the right type.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit = libc::rlimit { rlim_cur: limit.rlim_cur.max(wanted), rlim_max: limit.rlim_max.max(wanted) };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(done, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

#[test]
#[ignore = "the other test runs it in processes of its own"]
fn holder() {
    allow(2 * CONNECTIONS as u64 + 100);
    let space = NetNs::with_loopback().unwrap();
    let connect = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pair = |_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        (0..CONNECTIONS).map(pair).collect::<Vec<_>>()
    };
    let _pairs = space.run(connect).unwrap();
    println!("\n{READY}");
    // Until the other test closes the pipe, or has gone.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Processor time of this thread, in whose system calls the iterator runs.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn fifty_thousand_sockets_are_seen_and_joined_in_a_second() {
    let _turn = Turn::take();
    let start = |_| {
        let mut command = this_test("crowd::holder");
        ChildGuard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    };
    let mut holders: Vec<_> = (0..HOLDERS).map(start).collect();
    for holder in &mut holders {
        let lines = BufReader::new(holder.stdout.as_mut().unwrap()).lines();
        let said: Vec<_> = lines.map(Result::unwrap).take_while(|line| line != READY).collect();
        assert!(holder.try_wait().unwrap().is_none(), "a holder has ended: {said:?}");
    }
    let observer = Observer::new().unwrap();
    let look = || {
        let before = cpu_time();
        let observed = observer.look().unwrap();
        let took = cpu_time() - before;
        for holder in &holders {
            let ends = |pids: [u32; 2]| pids == [holder.id(); 2];
            let joined = observed.connections.local.iter().filter(|one| ends([one.client.pid, one.server.pid])).count();
            assert_eq!(joined, CONNECTIONS, "of process {}", holder.id());
        }
        println!("{} sockets: {} ms of processor time", 2 * HOLDERS * CONNECTIONS, took.as_millis());
        took
    };
    if is_guest() {
        look();
        eprintln!("\n*** the processor time of 50,000 sockets: NOT TESTED: the processor is emulated here ***\n");
    } else {
        assert!((0..LOOKS).any(|_| look() < LIMIT), "each of {LOOKS} looks takes {LIMIT:?} of processor time or more");
    }
}
