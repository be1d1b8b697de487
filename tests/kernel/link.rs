//! Attachments: links and the older kind, on cgroups, socket maps and iterators.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use sidestep::syscall::{
    Errno, Link, LinkDetail, LinkTarget, Map, MapSpec, ProgSpec, Program, RunTimeStats, UpdateFlags, id, iter_reader,
    prog_attach, prog_detach, prog_query,
};

use crate::feature::Feature;
use crate::program::{bytes, call, exit, mov, mov_reg, trivial};
use crate::support::cgroup::TestCgroup;
use crate::support::machine::require_root;
use crate::support::wait::wait_until;
use sidestep::uapi::{AttachType, MapType, ProgType};

const SOCK_OPS: AttachType = AttachType::CGROUP_SOCK_OPS;
const SK_MSG: AttachType = AttachType::SK_MSG_VERDICT;

fn sockhash() -> Map {
    Map::create(&MapSpec::new("t.sockhash", MapType::SOCKHASH, 8, 8, 16)).unwrap()
}

#[test]
fn a_cgroup_link_attaches_updates_and_detaches() {
    if !require_root("a_cgroup_link_attaches_updates_and_detaches") {
        return;
    }
    let group = TestCgroup::new();
    let (first, second) = (trivial("t.first", ProgType::SOCK_OPS), trivial("t.second", ProgType::SOCK_OPS));
    let (first_id, second_id) = (first.info().unwrap().id, second.info().unwrap().id);
    let link = Link::create(first.as_fd(), LinkTarget::Fd(group.as_fd()), SOCK_OPS).unwrap();
    assert_eq!(prog_query(group.as_fd(), SOCK_OPS).unwrap(), [first_id]);
    let info = link.info().unwrap();
    assert_eq!(info.prog_id, first_id);
    assert_eq!(info.detail, LinkDetail::Cgroup { cgroup_id: group.id().unwrap(), attach_type: SOCK_OPS });
    assert_eq!(Link::from_id(info.id).unwrap().info().unwrap(), info);
    assert!(id::ids(id::Kind::Link).any(|id| id.unwrap() == info.id));

    let wrong = link.update(second.as_fd(), Some(second.as_fd())).unwrap_err();
    assert_eq!(wrong.errno(), Some(Errno::EPERM));
    assert!(wrong.to_string().contains("another program than the one expected"), "{wrong}");
    link.update(second.as_fd(), Some(first.as_fd())).unwrap();
    assert_eq!(prog_query(group.as_fd(), SOCK_OPS).unwrap(), [second_id]);

    link.detach().unwrap();
    assert_eq!(prog_query(group.as_fd(), SOCK_OPS).unwrap(), Vec::<u32>::new());
    assert!(matches!(link.info().unwrap().detail, LinkDetail::Cgroup { cgroup_id: 0, .. }));
}

#[test]
fn a_cgroup_link_ends_with_its_descriptor() {
    if !require_root("a_cgroup_link_ends_with_its_descriptor") {
        return;
    }
    let group = TestCgroup::new();
    let program = trivial("t.short", ProgType::SOCK_OPS);
    let link = Link::create(program.as_fd(), LinkTarget::Fd(group.as_fd()), SOCK_OPS).unwrap();
    drop(link);
    wait_until("the link is gone", || prog_query(group.as_fd(), SOCK_OPS).unwrap().is_empty());
}

#[test]
fn links_and_plain_attachments_share_a_cgroup() {
    if !require_root("links_and_plain_attachments_share_a_cgroup") {
        return;
    }
    let group = TestCgroup::new();
    let (first, second) = (trivial("t.first", ProgType::SOCK_OPS), trivial("t.second", ProgType::SOCK_OPS));
    prog_attach(group.as_fd(), first.as_fd(), SOCK_OPS).unwrap();
    let _link = Link::create(second.as_fd(), LinkTarget::Fd(group.as_fd()), SOCK_OPS).unwrap();
    assert_eq!(prog_query(group.as_fd(), SOCK_OPS).unwrap().len(), 2);
    let twice = prog_attach(group.as_fd(), first.as_fd(), SOCK_OPS).unwrap_err();
    assert_eq!(twice.errno(), Some(Errno::EINVAL), "{twice}");
    prog_detach(group.as_fd(), first.as_fd(), SOCK_OPS).unwrap();
    let gone = prog_detach(group.as_fd(), first.as_fd(), SOCK_OPS).unwrap_err();
    assert_eq!(gone.errno(), Some(Errno::ENOENT));
    assert_eq!(prog_query(group.as_fd(), SOCK_OPS).unwrap(), [second.info().unwrap().id]);
}

#[test]
fn a_socket_map_takes_a_program_the_old_way() {
    if !require_root("a_socket_map_takes_a_program_the_old_way") {
        return;
    }
    let (map, program) = (sockhash(), trivial("t.verdict", ProgType::SK_MSG));
    prog_attach(map.as_fd(), program.as_fd(), SK_MSG).unwrap();
    if Feature::SocketMapQuery.required("a_socket_map_takes_a_program_the_old_way: BPF_PROG_QUERY") {
        assert_eq!(prog_query(map.as_fd(), SK_MSG).unwrap(), [program.info().unwrap().id]);
    }
    prog_detach(map.as_fd(), program.as_fd(), SK_MSG).unwrap();
    let wrong = prog_attach(map.as_fd(), trivial("t.ops", ProgType::SOCK_OPS).as_fd(), SK_MSG).unwrap_err();
    assert_eq!(wrong.errno(), Some(Errno::EINVAL), "{wrong}");
}

#[test]
fn a_socket_map_link_keeps_others_out() {
    if !require_root("a_socket_map_link_keeps_others_out") {
        return;
    }
    if !Feature::SocketMapLink.required("a_socket_map_link_keeps_others_out") {
        return;
    }
    let (map, program, other) =
        (sockhash(), trivial("t.verdict", ProgType::SK_MSG), trivial("t.other", ProgType::SK_MSG));
    let link = Link::create(program.as_fd(), LinkTarget::Fd(map.as_fd()), SK_MSG).unwrap();
    assert_eq!(
        link.info().unwrap().detail,
        LinkDetail::Sockmap { map_id: map.info().unwrap().id, attach_type: SK_MSG }
    );
    let busy = prog_attach(map.as_fd(), other.as_fd(), SK_MSG).unwrap_err();
    assert_eq!(busy.errno(), Some(Errno::EBUSY));
    assert!(busy.to_string().contains("bpftool link"), "{busy}");
    link.update(other.as_fd(), Some(program.as_fd())).unwrap();
    assert_eq!(prog_query(map.as_fd(), SK_MSG).unwrap(), [other.info().unwrap().id]);
    drop(link);
    wait_until("the link is gone", || prog_query(map.as_fd(), SK_MSG).unwrap().is_empty());
}

#[test]
fn an_attached_verdict_runs_and_is_counted() {
    if !require_root("an_attached_verdict_runs_and_is_counted") {
        return;
    }
    let (map, program) = (sockhash(), trivial("t.pass", ProgType::SK_MSG));
    prog_attach(map.as_fd(), program.as_fd(), SK_MSG).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    map.update(&[1; 8], &u64::from(client.as_raw_fd() as u32).to_ne_bytes(), UpdateFlags::empty()).unwrap();
    let statistics = RunTimeStats::enable().unwrap();
    for _ in 0..10 {
        std::io::Write::write_all(&mut client, b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
    }
    drop(statistics);
    let info = program.info().unwrap();
    assert_eq!(info.run_count, 10);
    assert!(info.run_time_ns > 0);
    prog_detach(map.as_fd(), program.as_fd(), SK_MSG).unwrap();
}

#[test]
fn a_cgroup_refuses_what_it_cannot_take() {
    if !require_root("a_cgroup_refuses_what_it_cannot_take") {
        return;
    }
    let program = trivial("t.prog", ProgType::SOCK_OPS);
    let map = sockhash();
    let error = Link::create(program.as_fd(), LinkTarget::Fd(map.as_fd()), SOCK_OPS).unwrap_err();
    assert_eq!(error.errno(), Some(Errno(libc::EBADF)), "{error}");
    assert!(error.to_string().contains("not an open cgroup2 directory"), "{error}");
}

#[test]
fn an_iterator_visits_the_sockets_of_a_map() {
    if !require_root("an_iterator_visits_the_sockets_of_a_map") {
        return;
    }
    let map = sockhash();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _server = listener.accept().unwrap();
    map.update(&[1; 8], &u64::from(client.as_raw_fd() as u32).to_ne_bytes(), UpdateFlags::empty()).unwrap();
    // bpf_seq_write(ctx->meta->seq, &(u64){0}, 8) for every element: `struct bpf_iter__sockmap` starts with the meta
    // pointer, `struct bpf_iter_meta` with the seq pointer.
    let load = |dst, src| sidestep::asm::Insn {
        code: sidestep::asm::opcode::LDX | sidestep::asm::opcode::MEM | sidestep::asm::opcode::DW,
        dst,
        src,
        ..Default::default()
    };
    let store = sidestep::asm::Insn {
        code: sidestep::asm::opcode::ST | sidestep::asm::opcode::MEM | sidestep::asm::opcode::DW,
        dst: 10,
        off: -8,
        imm: 0x41,
        ..Default::default()
    };
    let add = sidestep::asm::Insn {
        code: sidestep::asm::opcode::ALU64 | sidestep::asm::opcode::ADD | sidestep::asm::opcode::K,
        ..mov(2, -8)
    };
    // BPF_FUNC_seq_write is 127.
    let insns = bytes(&[store, load(1, 1), load(1, 1), mov_reg(2, 10), add, mov(3, 8), call(127), mov(0, 0), exit()]);
    let spec = ProgSpec {
        expected_attach_type: Some(AttachType::TRACE_ITER),
        attach_btf_id: sidestep::syscall::btf::vmlinux().unwrap().func_by_name("bpf_iter_sockmap").unwrap(),
        ..ProgSpec::new("t.iter", ProgType::TRACING, &insns)
    };
    let program = Program::load(&spec).unwrap();
    let link = Link::create(program.as_fd(), LinkTarget::IterMap(map.as_fd()), AttachType::TRACE_ITER).unwrap();
    assert_eq!(link.info().unwrap().detail, LinkDetail::Iter { map_id: map.info().unwrap().id });
    let mut text = Vec::new();
    iter_reader(&link).unwrap().read_to_end(&mut text).unwrap();
    // Once for the socket, once to say that the walk is over.
    assert_eq!(text, [[0x41, 0, 0, 0, 0, 0, 0, 0], [0x41, 0, 0, 0, 0, 0, 0, 0]].concat());
    let wrong = Map::create(&MapSpec::new("t.array", MapType::ARRAY, 4, 4, 1)).unwrap();
    assert!(Link::create(program.as_fd(), LinkTarget::IterMap(wrong.as_fd()), AttachType::TRACE_ITER).is_err());
}
