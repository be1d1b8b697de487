//! Other BPF tools on the same sockets: a socket map of theirs, and a sock_ops program that sets callback flags of its own.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use sidestep::agent::Acceleration;
use sidestep::asm::Reg::{R0, R1, R2};
use sidestep::asm::{Asm, Cond, Size};
use sidestep::dataplane::{Counter, Pairing};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::syscall::{Link, LinkTarget, Map, MapSpec, ProgSpec, Program, UpdateFlags, prog_query};
use sidestep::testbed::listen;
use sidestep::uapi::ctx::sock_ops;
use sidestep::uapi::helper::id as helper;
use sidestep::uapi::{AttachType, MapType, ProgType};

use crate::feature::Feature;
use crate::link::{ANY_PORT, back_and_forth, pair, pattern};
use crate::nested::{NestedCgroups, describe, pairings};
use crate::support::wait::timeout;

/// `BPF_SOCK_OPS_STATE_CB_FLAG` of include/uapi/linux/bpf.h.
const STATE_FLAG: i32 = 1 << 2;

fn redirected(acceleration: &Acceleration) -> u64 {
    acceleration.snapshot().unwrap().get(Counter::RedirectedMessages)
}

fn told(acceleration: &Acceleration) -> String {
    describe(&acceleration.snapshot().unwrap())
}

/// Another tool's sockhash with these sockets.
fn foreign_map(sockets: &[&TcpStream]) -> Map {
    let map = Map::create(&MapSpec::new("t_sockets", MapType::SOCKHASH, 8, 8, 16)).unwrap();
    for (key, socket) in sockets.iter().enumerate() {
        let fd = socket.as_raw_fd() as u64;
        map.update(&(key as u64).to_ne_bytes(), &fd.to_ne_bytes(), UpdateFlags::empty()).unwrap();
    }
    map
}

/// A sock_ops program that, as a connection is established, sets these callback flags and no others.
fn setter(flags: i32) -> Program {
    let mut asm = Asm::new();
    let [set, out] = ["set", "out"].map(|name| asm.label(name));
    asm.load(Size::W, R2, R1, sock_ops::OP);
    asm.jump(Cond::Eq, R2, sock_ops::ACTIVE_ESTABLISHED, set);
    asm.jump(Cond::Ne, R2, sock_ops::PASSIVE_ESTABLISHED, out);
    asm.bind(set);
    asm.mov(R2, flags);
    asm.call(helper::SOCK_OPS_CB_FLAGS_SET);
    asm.bind(out);
    asm.mov(R0, 1);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| None).unwrap();
    Program::load(&ProgSpec::new("t_setter", ProgType::SOCK_OPS, &insns)).unwrap()
}

/// Attaches a program to a cgroup before those that are there (BPF_LINK_CREATE with `BPF_F_BEFORE` and no relative).
fn attach_first(program: &Program, cgroup: &Cgroup) -> OwnedFd {
    /// `BPF_LINK_CREATE` and `BPF_F_BEFORE` of include/uapi/linux/bpf.h.
    const LINK_CREATE: i64 = 28;
    const BEFORE: u32 = 1 << 3;
    let [program, cgroup] = [program.as_fd(), cgroup.as_fd()].map(|fd| fd.as_raw_fd() as u32);
    // The first words of the attributes: prog_fd, target_fd, attach_type, flags; then the relative and the expected revision.
    let words: [u32; 8] = [program, cgroup, AttachType::CGROUP_SOCK_OPS.0, BEFORE, 0, 0, 0, 0];
    // SAFETY: the kernel reads the words, which live through the call, and no address is among them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LINK_CREATE, words.as_ptr(), size_of_val(&words)) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the command returns a descriptor that nothing else has.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

#[test]
fn sockets_in_another_tools_map_leave_ours_at_once() {
    let cgroups = NestedCgroups::new();
    for pairing in pairings() {
        let acceleration = cgroups.accelerate(pairing);
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let bytes = pattern(21, 700);
        back_and_forth(&client, &server, &bytes, 20);
        assert!(redirected(&acceleration) > 0, "{}", told(&acceleration));
        let foreign = foreign_map(&[&client, &server]);
        back_and_forth(&client, &server, &bytes, 20);
        let start = Instant::now();
        let left = acceleration.stop(timeout()).unwrap().remaining;
        assert_eq!(left, 0, "{pairing:?}: sockets stay in our map after {:?}", start.elapsed());
        // Without waiting for anything. The bound of the drain's first look is 3 s where it cannot see senders (Linux 5.10).
        assert!(start.elapsed() < timeout() / 2, "{pairing:?}: detach took {:?}", start.elapsed());
        back_and_forth(&client, &server, &bytes, 20);
        drop(foreign);
        back_and_forth(&client, &server, &bytes, 20);
    }
}

#[test]
fn a_pair_in_another_tools_map_can_leave() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let _foreign = foreign_map(&[&client, &server]);
    let bytes = pattern(22, 700);
    // SO_OOBINLINE at a receiver makes a pair leave.
    nix::sys::socket::setsockopt(&server, nix::sys::socket::sockopt::OobInline, &true).unwrap();
    let start = Instant::now();
    while acceleration.snapshot().unwrap().get(Counter::Unenrolled) == 0 {
        assert!(start.elapsed() < timeout(), "it does not leave: {}", told(&acceleration));
        back_and_forth(&client, &server, &bytes, 1);
    }
    back_and_forth(&client, &server, &bytes, 20);
}

#[test]
fn without_our_callbacks_messages_take_the_stack() {
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    let setter = setter(STATE_FLAG);
    let _link = Link::create(setter.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS).unwrap();
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let bytes = pattern(23, 700);
    back_and_forth(&client, &server, &bytes, 20);
    let counters = acceleration.snapshot().unwrap();
    assert_eq!(counters.get(Counter::RedirectedMessages), 0, "{}", describe(&counters));
    assert!(counters.get(Counter::PassCallbacks) > 0, "{}", describe(&counters));
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    back_and_forth(&client, &server, &bytes, 20);
}

#[test]
fn a_program_that_runs_before_ours_does_not_take_our_callbacks() {
    if !Feature::CgroupOrder.required("a_program_that_runs_before_ours_does_not_take_our_callbacks") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    // Behind ours it would keep messages on the stack.
    let setter = setter(STATE_FLAG);
    let link = attach_first(&setter, &cgroup);
    let order = prog_query(cgroup.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
    assert_eq!((order.len(), order[0]), (2, setter.info().unwrap().id), "it does not run before ours: {order:?}");
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    let bytes = pattern(25, 700);
    back_and_forth(&client, &server, &bytes, 20);
    let counters = acceleration.snapshot().unwrap();
    assert!(counters.get(Counter::RedirectedMessages) > 0, "{}", describe(&counters));
    assert_eq!(counters.get(Counter::PassCallbacks), 0, "{}", describe(&counters));
    assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0);
    back_and_forth(&client, &server, &bytes, 20);
    drop(link);
}

#[test]
fn our_callbacks_are_asked_for_again_in_another_programs_callback() {
    let cgroups = NestedCgroups::new();
    // Of each pair of ours that a socket has, another program leaves one.
    let mut flags = vec![sock_ops::RTT_FLAG | STATE_FLAG];
    if Feature::SocketOptions.required("the callback of each packet") {
        flags.push(sock_ops::WRITE_HDR_OPT_FLAG | STATE_FLAG);
    }
    for flags in flags {
        let acceleration = cgroups.accelerate(Pairing::Sequence);
        let cgroup = Cgroup::open(&cgroups.path()).unwrap();
        let setter = setter(flags);
        let _link = Link::create(setter.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS).unwrap();
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        let bytes = pattern(24, 700);
        let start = Instant::now();
        while redirected(&acceleration) < 10 {
            assert!(start.elapsed() < timeout(), "{flags}: nothing is redirected: {}", told(&acceleration));
            back_and_forth(&client, &server, &bytes, 5);
        }
        assert_eq!(acceleration.stop(timeout()).unwrap().remaining, 0, "{flags}");
        back_and_forth(&client, &server, &bytes, 20);
    }
}
