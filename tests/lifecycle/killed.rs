//! An agent is killed while it adopts connections. What it has left in the middle of a pair is plain TCP again when the next agent has
//! looked at it, and then comes back.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sidestep::agent::Looks;
use sidestep::agent::lifecycle::{Leftovers, Pins};
use sidestep::syscall::cgroup::Cgroup;

use crate::fixture::{Fixture, Version, drain, ensure};
use crate::pinned::Pinned;
use crate::streams::listener;
use crate::support::feature::Feature;
use crate::support::link::{accepted, back_and_forth, pattern};
use crate::support::wait::timeout;
use crate::tracer::kill_when;

/// The variable with the order for the child; nothing but this test reads it.
const ORDER: &str = "SIDESTEP_LIFECYCLE_ADOPT";
/// Connections that the child adopts, one after the other.
const CONNECTIONS: usize = 3;

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

/// Between which steps an agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Middle {
    /// The client has been told its peer. The server has only been prepared.
    OneIsTold,
    /// Both are a pair outside of the sockhash.
    BothAreTold,
    /// Only the client is in the sockhash.
    OneIsIn,
}

impl Middle {
    /// Where the two ends of a connection are, if an agent is in the middle.
    fn of(pinned: &Pinned, (client, server): &(TcpStream, TcpStream)) -> Option<Self> {
        match [client, server].map(|end| pinned.stands(end)) {
            [(true, false), (false, false)] => Some(Self::OneIsTold),
            [(true, false), (true, false)] => Some(Self::BothAreTold),
            [(true, true), (true, false)] => Some(Self::OneIsIn),
            _ => None,
        }
    }
}

/// A connection that is in no pair yet, since its client has blocked while it was made.
fn blocked_at_first(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = accepted(listener);
    client.set_nonblocking(true).unwrap();
    (client, server)
}

/// An agent adopts, and is killed when it is in this middle of one of `pairs`.
fn kill_an_agent(fixture: &Fixture, pinned: &Pinned, pairs: &[(TcpStream, TcpStream)], middle: Middle) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "killed::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ORDER, format!("{} {}", fixture.bpffs().display(), fixture.cgroup_path().display()))
        .stdout(Stdio::null());
    let was_there = kill_when(&mut child, || pairs.iter().any(|pair| Middle::of(pinned, pair) == Some(middle)));
    assert!(was_there, "the agent was never in the middle ({middle:?})");
    assert!(pairs.iter().any(|pair| Middle::of(pinned, pair) == Some(middle)), "it has gone on");
}

#[test]
fn what_a_killed_agent_leaves_in_the_middle_is_taken_back_and_adopted_again() {
    if !Feature::Adoption.required("an agent that is killed while it adopts") {
        return;
    }
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| ());
    let (pinned, listener) = (Pinned::of(&fixture), listener());
    for middle in [Middle::OneIsTold, Middle::BothAreTold, Middle::OneIsIn] {
        let pairs: Vec<_> = (0..CONNECTIONS).map(|_| blocked_at_first(&listener)).collect();
        kill_an_agent(&fixture, &pinned, &pairs, middle);
        let mut looks = Looks::new(Duration::ZERO);
        let adopt = |looks: &mut Looks| fixture.instance().adopt(&Version::First.plane(), looks).unwrap();
        adopt(&mut looks);
        assert!(pairs.iter().all(|pair| Middle::of(&pinned, pair).is_none()), "{middle:?}: one is left as it was");
        // They come back at a later look, as pairs do that have left.
        let start = Instant::now();
        while !pairs
            .iter()
            .all(|(client, server)| [client, server].into_iter().all(|end| pinned.stands(end) == (true, true)))
        {
            assert!(start.elapsed() < timeout(), "{middle:?}: they do not come back");
            adopt(&mut looks);
        }
        for (client, server) in &pairs {
            back_and_forth(client, server, &pattern(3, 500), 5);
        }
    }
    assert!(fixture.instance().detach(drain(), Leftovers::Keep, None, &mut |_| ()).is_ok());
}
