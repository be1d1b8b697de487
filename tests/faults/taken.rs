//! Others take away what sidestep stands on: its programs, its links, its cgroup. Connections go on, and it says so.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use sidestep::agent::{Acceleration, Problem};
use sidestep::asm::{Asm, Reg};
use sidestep::dataplane::{Counter, MapRole, Pairing};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::syscall::{Link, LinkTarget, ProgSpec, Program, id, prog_attach, prog_detach};
use sidestep::testbed::listen;

use crate::feature::Feature;
use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::nested::{NestedCgroups, describe};
use crate::support::cgroup::remove;
use crate::support::wait::timeout;
use sidestep::uapi::{AttachType, ProgType};

/// A program that does nothing: `return 1`.
fn idle(prog_type: ProgType) -> Program {
    let mut asm = Asm::new();
    asm.mov(Reg::R0, 1);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| None).unwrap();
    Program::load(&ProgSpec::new("another_tool", prog_type, &insns)).unwrap()
}

fn exchange(pairs: &[(TcpStream, TcpStream)]) {
    for (seed, (client, server)) in pairs.iter().enumerate() {
        let bytes = pattern(seed as u64, 4_000);
        back_and_forth(client, server, &bytes, 3);
    }
}

/// All links of the kernel whose program is `program`.
fn links_of(program: &Program) -> Vec<Link> {
    let wanted = program.info().unwrap().id;
    let all = id::ids(id::Kind::Link).filter_map(Result::ok).filter_map(|id| Link::from_id(id).ok());
    all.filter(|link| link.info().is_ok_and(|info| info.prog_id == wanted)).collect()
}

fn pairs(listener: &TcpListener, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let to = listener.local_addr().unwrap();
    (0..count).map(|_| pair(listener, to)).collect()
}

fn redirected(acceleration: &Acceleration) -> u64 {
    acceleration.snapshot().unwrap().get(Counter::RedirectedMessages)
}

/// Whether the kernel shows that the sk_msg program is gone. On one that does not, no report is possible; nothing may be lost
/// all the same.
fn shows_sk_msg() -> bool {
    Feature::SocketMapQuery.required("the report of a missing sk_msg program")
}

/// Another program has just taken something away: it says so, and old and new connections go on, also when it ends.
fn reported_without_loss(
    acceleration: Acceleration,
    old: &[(TcpStream, TcpStream)],
    listener: &TcpListener,
    reported: bool,
) {
    let problems = acceleration.problems().unwrap();
    assert_eq!(problems.len(), usize::from(reported), "{problems:?}");
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    let new = pairs(listener, 4);
    exchange(old);
    exchange(&new);
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    exchange(old);
    exchange(&new);
}

#[test]
fn another_program_on_the_cgroup_does_no_harm() {
    let cgroups = NestedCgroups::new();
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    let other = idle(ProgType::SOCK_OPS);
    for first in [true, false] {
        let before =
            first.then(|| Link::create(other.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS));
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let after = (!first).then(|| prog_attach(cgroup.as_fd(), other.as_fd(), AttachType::CGROUP_SOCK_OPS));
        let listener = listen(ANY_PORT).unwrap();
        let pairs = pairs(&listener, 4);
        exchange(&pairs);
        assert_eq!(acceleration.problems().unwrap(), []);
        assert!(redirected(&acceleration) > 0, "{}", describe(&acceleration.snapshot().unwrap()));
        if let Some(before) = before {
            drop(before.unwrap());
        }
        if let Some(after) = after {
            after.unwrap();
            prog_detach(cgroup.as_fd(), other.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
        }
        exchange(&pairs);
        assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
        exchange(&pairs);
    }
}

#[test]
fn a_link_that_another_program_detaches_is_reported_and_loses_nothing() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    for sock_ops in [true, false] {
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let old = pairs(&listener, 4);
        exchange(&old);
        assert_eq!(acceleration.problems().unwrap(), []);
        let loaded = acceleration.loaded();
        let program = if sock_ops { &loaded.sock_ops } else { &loaded.dispatcher };
        let links = links_of(program);
        for link in &links {
            link.detach().unwrap();
        }
        if links.is_empty() {
            // Before 6.10 the sk_msg program has no link.
            assert!(!sock_ops);
            let map = loaded.map(MapRole::Sockets);
            prog_detach(map.as_fd(), program.as_fd(), AttachType::SK_MSG_VERDICT).unwrap();
        }
        reported_without_loss(acceleration, &old, &listener, sock_ops || shows_sk_msg());
    }
}

#[test]
fn a_verdict_that_another_program_replaces_is_reported_and_loses_nothing() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let old = pairs(&listener, 4);
    exchange(&old);
    let loaded = acceleration.loaded();
    for link in links_of(&loaded.dispatcher) {
        link.detach().unwrap();
    }
    let other = idle(ProgType::SK_MSG);
    let map = loaded.map(MapRole::Sockets);
    prog_attach(map.as_fd(), other.as_fd(), AttachType::SK_MSG_VERDICT).unwrap();
    reported_without_loss(acceleration, &old, &listener, shows_sk_msg());
}

#[test]
fn a_cgroup_removed_while_attached_is_reported_and_loses_nothing() {
    let cgroups = NestedCgroups::new();
    let listener = listen(ANY_PORT).unwrap();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let old = pairs(&listener, 4);
    exchange(&old);
    let before = redirected(&acceleration);
    // Sockets stay with the cgroup they were made in; a removed one stays in memory for them, but takes no more.
    cgroups.leave();
    remove([cgroups.path()]);
    exchange(&old);
    assert!(redirected(&acceleration) > before, "connections that are there stay accelerated");
    let problems = acceleration.problems().unwrap();
    assert_eq!(problems, [Problem::CgroupRemoved]);
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    exchange(&old);
}
