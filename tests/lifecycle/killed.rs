//! An agent is killed while it adopts connections. Two sockets that it has made a pair, and has not put into the sockhash, are plain
//! TCP again when the next agent has looked at them, and then come back.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sidestep::agent::Looks;
use sidestep::agent::lifecycle::{Leftovers, Pins};
use sidestep::dataplane::{Counter, MapRole, SocketState, Standing};
use sidestep::syscall::Map;
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::{DRAIN, Fixture, Version, ensure};
use crate::streams::listener;
use crate::support::feature::Feature;
use crate::support::link::{accepted, back_and_forth, pattern};
use crate::support::wait::timeout;

/// The variable with the order for the child; nothing but this test reads it.
const ORDER: &str = "SIDESTEP_LIFECYCLE_ADOPT";
/// Connections that the child adopts, one after the other.
const CONNECTIONS: usize = 40;
/// How often an agent is killed before one of them must have been between two steps.
const TRIES: usize = 60;

/// The child: adopts what there is. Run by hand it has no order and does nothing.
#[test]
#[ignore = "the other test starts it"]
fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (bpffs, cgroup) = order.split_once(' ').unwrap();
    let cgroup = Cgroup::open(cgroup.as_ref()).unwrap();
    let instance = Pins::find(Some(bpffs.as_ref()), false).unwrap().instance(cgroup.id().unwrap());
    instance.adopt(&Version::First.plane(), &mut Looks::default()).unwrap();
}

/// What is pinned.
struct Pinned {
    sockets: Map,
    storage: Map,
}

impl Pinned {
    fn of(fixture: &Fixture) -> Self {
        let map = |role: MapRole| Map::from_pin(&fixture.instance().dir().join("g1").join(role.name())).unwrap();
        Self { sockets: map(MapRole::Sockets), storage: map(MapRole::Storage) }
    }

    /// Whether a socket is one of a pair, and whether it is in the sockhash.
    fn state(&self, socket: &TcpStream) -> (bool, bool) {
        let bytes = self.storage.lookup(&socket.as_raw_fd().to_ne_bytes()).unwrap();
        let Some(state) = bytes.and_then(|bytes| SocketState::from_bytes(&bytes)) else { return (false, false) };
        let is_member = self.sockets.lookup(&state.cookie.to_ne_bytes()).unwrap().is_some();
        (state.standing == Standing::Paired, is_member)
    }

    /// Whether two ends are a pair outside of the sockhash, or one end is that whose peer has only been prepared.
    fn are_abandoned(&self, (client, server): &(TcpStream, TcpStream)) -> bool {
        let [client, server] = [client, server].map(|end| self.state(end));
        client == (true, false) && !server.1
    }
}

/// A connection that is in no pair yet, since its client has blocked while it was made.
fn blocked_at_first(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = accepted(listener);
    client.set_nonblocking(true).unwrap();
    (client, server)
}

/// An agent is killed as soon as it has made a pair and `after` has passed.
fn kill_an_agent(fixture: &Fixture, after: Duration) {
    let paired = || fixture.instance().look().unwrap().unwrap().0.get(Counter::Paired);
    let before = paired();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env(ORDER, format!("{} {}", fixture.bpffs().display(), fixture.cgroup_path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while paired() == before && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < timeout(), "the agent adopts nothing");
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_agent_leaves_in_the_middle_is_taken_back_and_adopted_again() {
    if !Feature::Adoption.required("an agent that is killed while it adopts") {
        return;
    }
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| ());
    let (pinned, listener) = (Pinned::of(&fixture), listener());
    let mut hit = None;
    for attempt in 0..TRIES {
        let pairs: Vec<_> = (0..CONNECTIONS).map(|_| blocked_at_first(&listener)).collect();
        kill_an_agent(&fixture, Duration::from_micros(50 * attempt as u64));
        if pairs.iter().any(|pair| pinned.are_abandoned(pair)) {
            hit = Some((attempt, pairs));
            break;
        }
    }
    let (attempt, pairs) = hit.unwrap_or_else(|| panic!("no agent was killed in the middle in {TRIES} tries"));
    eprintln!("killed in the middle at try {attempt}");
    let mut looks = Looks::new(Duration::ZERO);
    let adopt = |looks: &mut Looks| fixture.instance().adopt(&Version::First.plane(), looks).unwrap();
    adopt(&mut looks);
    assert!(!pairs.iter().any(|pair| pinned.are_abandoned(pair)), "a pair stays outside of the sockhash");
    // They come back at a later look, as pairs do that have left.
    let start = Instant::now();
    while !pairs
        .iter()
        .all(|(client, server)| [client, server].into_iter().all(|end| pinned.state(end) == (true, true)))
    {
        assert!(start.elapsed() < timeout(), "they do not come back");
        adopt(&mut looks);
    }
    for (client, server) in &pairs {
        back_and_forth(client, server, &pattern(3, 500), 5);
    }
    drop(pairs);
    assert!(fixture.instance().detach(DRAIN, Leftovers::Keep, None, &mut |_| ()).is_ok());
}
