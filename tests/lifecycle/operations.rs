//! What an operator reads: of paths that mean something else elsewhere, of flags that end, of a map that is full, and
//! of other BPF programs.

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sidestep::agent::lifecycle::{Request, State};
use sidestep::agent::{Problem, check};
use sidestep::asm::{Asm, MapRef, Reg};
use sidestep::dataplane::{Config, Policy};
use sidestep::syscall::{Link, LinkTarget, Map, ProgSpec, Program};
use sidestep::uapi::{AttachType, ProgType};

use crate::fixture::{Fixture, drain, plane};
use crate::owner::pinned;
use crate::streams::{listener, pair};
use crate::support::feature::Feature;
use crate::support::machine::is_emulated;

fn is_healthy(fixture: &Fixture) {
    let status = fixture.status().unwrap();
    assert_eq!((status.state, status.problems), (State::Attached, vec![]));
}

/// A program of ours that uses a map for a moment, as that of an adoption does.
fn user(map: &Map) -> Program {
    let mut asm = Asm::new();
    asm.load_map(Reg::R1, MapRef(0));
    asm.mov(Reg::R0, 1);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| Some(map.as_fd().as_raw_fd())).unwrap();
    Program::load(&ProgSpec::new("sidestep_test", ProgType::SK_MSG, &insns)).unwrap()
}

#[test]
fn a_status_is_not_troubled_by_others_that_look_at_the_same_time() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &[]);
    fixture.is_healthy();
    let storage = fixture.instance().storages().unwrap().remove(0);
    let ended = AtomicBool::new(false);
    let statuses = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                drop(user(&storage));
            }
        });
        let look = || (0..10).map(|_| fixture.status().unwrap()).collect::<Vec<_>>();
        let lookers = [threads.spawn(look), threads.spawn(look)];
        let statuses = lookers.map(|looker| looker.join());
        ended.store(true, Ordering::Relaxed);
        statuses.map(Result::unwrap).concat()
    });
    assert!(statuses.iter().all(|status| !status.owned), "{statuses:?}");
    let troubled = statuses.iter().filter(|status| !status.problems.is_empty()).count();
    // A thread that loses its CPU holds its program for longer than the status waits. Without a second look most are troubled.
    let most = if is_emulated() { statuses.len() / 4 } else { 1 };
    assert!(troubled <= most, "{troubled} of {}: {statuses:?}", statuses.len());
    let stays = user(&storage);
    let problems = fixture.status().unwrap().problems;
    assert!(matches!(problems[..], [Problem::ForeignUser { .. }]), "a program that stays is a stray: {problems:?}");
    drop((stays, storage));
    let seen = fixture.is_healthy();
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

#[test]
fn a_cgroup_that_was_named_by_a_relative_path_is_found_from_everywhere() {
    let fixture = Fixture::new();
    let path = fixture.cgroup_path();
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .current_dir(path.parent().unwrap())
        .args(["attach", "--cgroup"])
        .arg(path.file_name().unwrap())
        .arg("--bpffs")
        .arg(fixture.bpffs())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    is_healthy(&fixture);
    assert_eq!(fixture.status().unwrap().cgroup, path);
    fixture.succeeds("detach", &[]);
}

#[test]
fn a_cgroup_whose_recorded_path_does_not_exist_here_is_not_called_removed() {
    let fixture = Fixture::new();
    // As in a container that sees the hierarchy at another place.
    let place = std::env::temp_dir().join(format!("sidestep-elsewhere-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    mount(Some(fixture.cgroup_path()), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let output = fixture.sidestep("attach", &["--cgroup", place.to_str().unwrap()]);
    umount2(&place, MntFlags::MNT_DETACH).unwrap();
    std::fs::remove_dir(&place).unwrap();
    assert!(output.status.success(), "{output:?}");
    is_healthy(&fixture);
    fixture.succeeds("detach", &[]);
}

#[test]
fn flags_of_an_upgrade_that_a_restart_drops_are_named_three_times() {
    let fixture = Fixture::new();
    let run = pinned(&fixture);
    let cgroup = fixture.cgroup_path().to_str().unwrap();
    let upgrade = fixture.sidestep("upgrade", &["--cgroup", cgroup, "--exclude-port", "9"]);
    let said = String::from_utf8(upgrade.stderr).unwrap();
    assert!(upgrade.status.success() && said.contains("--exclude-port=9") && said.contains("sidestep run"), "{said}");
    let said = run.stop().err;
    assert!(said.contains("--exclude-port=9") && said.contains("end with this command"), "{said}");

    let run = pinned(&fixture);
    assert!(fixture.sidestep("upgrade", &["--cgroup", cgroup, "--exclude-port", "9"]).status.success());
    run.kill();
    let said = pinned(&fixture).stop().err;
    assert!(said.contains("--exclude-port=9") && said.contains("are replaced by --trust=all"), "{said}");
}

#[test]
fn a_sockhash_that_is_full_is_a_problem_with_a_number() {
    let fixture = Fixture::new();
    let mut plane = plane(Policy::default());
    plane.maps[0].max_entries = 16;
    let request = Request {
        plane: &plane,
        config: Config::default(),
        cgroup: &fixture.cgroup(),
        more: &[],
        marked: sidestep::agent::Marked::default(),
        flags: &[],
        drain: drain(),
    };
    fixture.instance().attach(&request, &mut |_| {}).unwrap();
    fixture.is_healthy();
    let listener = listener();
    let pairs: Vec<_> = (0..12).map(|_| pair(&listener)).collect();
    let problems = fixture.status().unwrap().problems;
    assert_eq!(problems, [Problem::SockhashFull { members: 16, capacity: 16 }]);
    assert_eq!(fixture.instance().problems().unwrap(), problems, "`sidestep run` knows the same");
    let status = fixture.sidestep("status", &[]);
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(!status.status.success() && said.contains("! the sockhash holds 16 of at most 16"), "{said}");
    drop(pairs);
    fixture.succeeds("detach", &[]);
}

#[test]
fn other_programs_on_the_same_hooks_are_named() {
    let fixture = Fixture::new();
    fixture.succeeds("attach", &[]);
    let mut asm = Asm::new();
    asm.mov(Reg::R0, 1);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| None).unwrap();
    let other = Program::load(&ProgSpec::new("t_neighbour", ProgType::SOCK_OPS, &insns)).unwrap();
    let cgroup = fixture.cgroup();
    let _link = Link::create(other.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS).unwrap();
    let (id, cgroup_id) = (other.info().unwrap().id, cgroup.id().unwrap());
    let wanted = format!("program {id} (t_neighbour, sock_ops) of another tool, on cgroup {cgroup_id}");
    let says = |output: std::process::Output| {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(&wanted), "{said}");
    };
    says(fixture.sidestep("status", &[]));
    fixture.succeeds("detach", &[]);
    // Its probes use sockets of this cgroup.
    says(Command::new(env!("CARGO_BIN_EXE_sidestep")).arg("check").output().unwrap());
}

/// Its probes make connections, whose sockets are members then, and a socket has one sk_msg program.
#[test]
fn what_the_kernel_does_is_found_out_inside_an_accelerated_cgroup_too() {
    let fixture = Fixture::new();
    let outside = check::configuration().unwrap();
    let four_tuple = Feature::NetnsCookieHelper.required("four-tuple pairing").then_some("--pairing=four-tuple");
    for pairing in ["--pairing=sequence"].into_iter().chain(four_tuple) {
        fixture.succeeds("attach", &[pairing]);
        assert_eq!(check::configuration().unwrap(), outside, "{pairing}");
        let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args(["check", "--cgroup"])
            .arg(fixture.cgroup_path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains("a message is redirected past the stack") && !said.contains("EBUSY"),
            "{pairing}: {said}"
        );
        fixture.succeeds("detach", &[]);
    }
}

#[test]
fn check_works_where_cgroups_are_read_only_as_run_does() {
    let _fixture = Fixture::new();
    let script = "mount -o remount,bind,ro \"$1\" && exec \"$2\" check";
    let root = sidestep::syscall::cgroup::find().unwrap().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(root)
        .arg(env!("CARGO_BIN_EXE_sidestep"))
        .output()
        .expect("unshare of util-linux runs");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("no cgroup can be created here"), "{said}");
}

#[test]
fn attach_says_that_programs_on_probation_need_an_agent() {
    let fixture = Fixture::new();
    if !Feature::ReadersSeen.required("attach_says_that_programs_on_probation_need_an_agent") {
        return;
    }
    let output = fixture.sidestep("attach", &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("start `sidestep run`"), "{said}");
    fixture.succeeds("detach", &[]);
}
