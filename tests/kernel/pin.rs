//! Pins on a bpf file system of our own.

use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
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

/// A pin is opened by way of /proc. Where that is missing, the pin must not look as if it was not there.
#[test]
fn a_pin_without_proc_is_not_taken_for_none() {
    if !require_root("a_pin_without_proc_is_not_taken_for_none") {
        return;
    }
    let pins = TestBpffs::new();
    let given = pins.path().join("given");
    std::fs::create_dir(&given).unwrap();
    let places = [pins.path().join("map"), given.join("map")];
    for place in &places {
        Map::create(&MapSpec::new("t.noproc", MapType::ARRAY, 4, 4, 1)).unwrap().pin(place).unwrap();
    }
    // In another user's directory root works by the directory's descriptor.
    chown(&given, Some(65_534), None).unwrap();
    chown(&places[1], Some(65_534), None).unwrap();
    for place in &places {
        Map::from_pin(place).unwrap();
    }
    // The mounts of this thread alone.
    let without = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        while Path::new("/proc/self").exists() {
            umount2("/proc", MntFlags::MNT_DETACH).unwrap();
        }
        places.map(|place| Map::from_pin(&place).map(drop).unwrap_err())
    });
    for error in without.join().unwrap() {
        assert_ne!(error.errno(), Some(Errno::ENOENT), "{error}");
        assert!(error.to_string().contains("mount -t proc proc /proc"), "{error}");
    }
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
