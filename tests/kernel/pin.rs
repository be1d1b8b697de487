//! Pins on a bpf file system of our own.

use std::os::fd::AsFd;

use sidestep::syscall::{Errno, Link, LinkTarget, Map, MapSpec, Program, UpdateFlags, bpffs, prog_query};

use crate::program::trivial;
use crate::support::bpffs::TestBpffs;
use crate::support::cgroup::TestCgroup;
use crate::support::machine::require_root;
use crate::support::wait::wait_until;
use sidestep::uapi::{AttachType, MapType, ProgType};

#[test]
fn pinned_objects_outlive_their_owner() {
    if !require_root("pinned_objects_outlive_their_owner") {
        return;
    }
    let (pins, group) = (TestBpffs::new(), TestCgroup::new());
    assert!(bpffs::contains(pins.path()).unwrap());
    let (map_pin, prog_pin, link_pin) = (pins.path().join("map"), pins.path().join("prog"), pins.path().join("link"));
    let id = {
        let map = Map::create(&MapSpec::new("t.pinned", MapType::HASH, 4, 4, 4)).unwrap();
        map.update(&[1; 4], &[2; 4], UpdateFlags::empty()).unwrap();
        map.pin(&map_pin).unwrap();
        assert_eq!(map.pin(&map_pin).unwrap_err().errno(), Some(Errno::EEXIST));
        let program = trivial("t.pinned", ProgType::SOCK_OPS);
        program.pin(&prog_pin).unwrap();
        let link = Link::create(program.as_fd(), LinkTarget::Fd(group.as_fd()), AttachType::CGROUP_SOCK_OPS).unwrap();
        link.pin(&link_pin).unwrap();
        program.info().unwrap().id
    };
    assert_eq!(Map::from_pin(&map_pin).unwrap().lookup(&[1; 4]).unwrap(), Some(vec![2; 4]));
    assert_eq!(Program::from_pin(&prog_pin).unwrap().info().unwrap().id, id);
    assert_eq!(Link::from_pin(&link_pin).unwrap().info().unwrap().prog_id, id);
    assert_eq!(prog_query(group.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap(), [id]);
    std::fs::remove_file(&link_pin).unwrap();
    // The pin's inode, and with it the link, is freed after a grace period (bpf_free_inode, kernel/bpf/inode.c).
    wait_until("the program is detached", || {
        prog_query(group.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap().is_empty()
    });
}

#[test]
fn a_pin_of_another_kind_is_refused() {
    if !require_root("a_pin_of_another_kind_is_refused") {
        return;
    }
    let pins = TestBpffs::new();
    let at = pins.path().join("map");
    Map::create(&MapSpec::new("t.kind", MapType::ARRAY, 4, 4, 1)).unwrap().pin(&at).unwrap();
    assert!(Link::from_pin(&at).is_err());
    assert!(Program::from_pin(&at).is_err());
    let missing = Map::from_pin(&pins.path().join("none")).unwrap_err();
    assert_eq!(missing.errno(), Some(Errno::ENOENT));
    let outside = std::env::temp_dir().join("sidestep-not-a-bpffs");
    let error = Map::from_pin(&pins.path().join("map")).unwrap().pin(&outside).unwrap_err();
    assert!(error.to_string().contains("bpf file system"), "{error}");
}
