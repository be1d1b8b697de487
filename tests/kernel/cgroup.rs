//! cgroup2 on this machine, wherever it is mounted; and network namespaces.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::syscall::netns::{Netns, cookie_of_socket};

use crate::feature::Feature;
use crate::support::cgroup::TestCgroup;
use crate::support::machine::require_root;

#[test]
fn the_hierarchy_is_found_and_takes_groups() {
    if !require_root("the_hierarchy_is_found_and_takes_groups") {
        return;
    }
    let root = cgroup::find().unwrap().unwrap();
    assert!(root.join("cgroup.procs").exists());
    let group = TestCgroup::new();
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    let entered = group.enter(child.id());
    let processes = group.processes();
    child.kill().unwrap();
    child.wait().unwrap();
    entered.unwrap();
    assert_eq!(processes.unwrap(), [child.id()]);
    assert!(group.id().unwrap() > 0);
    assert!(Cgroup::create(group.path()).unwrap_err().to_string().contains("File exists"));
}

#[test]
fn a_directory_that_is_not_a_cgroup_is_refused_with_the_right_place() {
    let error = Cgroup::open(Path::new("/tmp")).unwrap_err().to_string();
    assert!(error.contains("/tmp is not a cgroup2 directory"), "{error}");
    let error = Cgroup::open(Path::new("/no/such/group")).unwrap_err().to_string();
    assert!(error.contains("/no/such/group") && error.contains("ENOENT"), "{error}");
}

#[test]
fn work_runs_inside_another_namespace_and_leaves_this_one_alone() {
    if !require_root("work_runs_inside_another_namespace_and_leaves_this_one_alone") {
        return;
    }
    let name = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let here = name();
    // A thread with a namespace of its own; the handle keeps the namespace when the thread is gone.
    let other = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        Netns::current().unwrap()
    })
    .join()
    .unwrap();
    assert_ne!(other.run(name).unwrap(), here);
    assert_eq!(name(), here);
    if !Feature::NetnsCookie.required("cookies of network namespaces") {
        return;
    }
    // The other namespace's loopback is down, so only a socket without an address can be had.
    let cookie = || cookie_of_socket(TcpListener::bind("0.0.0.0:0").unwrap().as_fd()).unwrap();
    assert_ne!(other.run(cookie).unwrap(), cookie());
    assert_eq!(cookie(), cookie());
}
