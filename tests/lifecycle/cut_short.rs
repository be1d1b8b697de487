//! Root takes an instance back from another user, and is killed while it does. Each directory is root's before what is in it has been
//! looked at. What the user has put there leads a later command of root to nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::unistd::{Uid, chown};
use sidestep::dataplane::MapRole;
use sidestep::syscall::{Map, MapSpec, UpdateFlags, bpffs};
use sidestep::uapi::MapType;

use crate::fixture::Fixture;
use crate::objects::objects;
use crate::support::agent::Agent;
use crate::support::child::ChildGuard;
use crate::support::wait::wait_until;
use crate::user::{State, as_the_other_user, at_the_start, open_mount};

/// What the user can have put into a directory of its own.
#[derive(Clone, Copy, Debug)]
enum Put {
    /// A symbolic link in the place of a pin.
    Link,
    /// Another name of a pin of root's. Where fs.protected_hardlinks is 0, which is the kernel's default, the user can make one.
    Name,
    /// A symbolic link in the place of the directory of pins.
    Directory,
}

/// The user puts it there, so that it leads to `secret`, and root is killed after it has made each directory above it root's.
fn put(what: Put, instance: &Path, secret: &Path) {
    let generation = instance.join("g1");
    let config = generation.join(MapRole::Config.name());
    match what {
        Put::Link => as_the_other_user(|| fs::remove_file(&config).and_then(|()| symlink(secret, &config)).unwrap()),
        Put::Name => fs::remove_file(&config).and_then(|()| fs::hard_link(secret, &config)).unwrap(),
        Put::Directory => as_the_other_user(|| {
            let moved = fs::rename(&generation, generation.with_file_name("before"));
            moved.and_then(|()| symlink(secret.parent().unwrap(), &generation)).unwrap();
        }),
    }
    let taken = match what {
        Put::Link | Put::Name => &[instance, &generation][..],
        Put::Directory => &[instance],
    };
    taken.iter().for_each(|directory| chown(*directory, Some(Uid::from_raw(0)), None).unwrap());
}

#[test]
fn a_takeover_that_is_killed_leaves_nothing_that_leads_root_elsewhere() {
    for what in [Put::Link, Put::Name, Put::Directory] {
        let (fixture, state) = (Fixture::new(), State::new());
        open_mount(&fixture);
        // Where the link to the directory leads, root finds what it looks for.
        let roots = fixture.bpffs().join("roots");
        fs::create_dir(&roots).unwrap();
        let secret = roots.join(MapRole::Config.name());
        let map = Map::create(&MapSpec::new("of_root", MapType::ARRAY, 4, 8, 1)).unwrap();
        map.update(&[0; 4], &[7; 8], UpdateFlags::empty()).unwrap();
        map.pin(&secret).unwrap();
        let (cgroup, at) = (fixture.cgroup_path().to_str().unwrap(), fixture.bpffs().to_str().unwrap());
        let flags = ["--cgroup", cgroup, "--bpffs", at, "--keep", "--user", "65534"];
        Agent::start(&mut state.command(at_the_start(), &flags)).stop();
        let instance = fixture.instance();
        let seen = objects(&fixture.status().unwrap());
        put(what, instance.dir(), &secret);

        for (command, flags) in [("detach", &[][..]), ("upgrade", &["--exclude-port", "1"])] {
            let done = fixture.sidestep(command, &[&["--cgroup", cgroup], flags].concat());
            let said = String::from_utf8(done.stderr).unwrap();
            assert!(!done.status.success(), "{what:?}: {command} passes it over: {said}");
            let why =
                if matches!(what, Put::Directory) { "Not a directory" } else { "another user may have put there" };
            assert!(said.contains(why), "{what:?}: {command}: {said}");
            assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap(), [7; 8], "{what:?}: {command} has written to root's map");
        }
        assert_eq!(bpffs::names(&roots).unwrap(), [MapRole::Config.name()], "{what:?}");

        // The next run takes over what the first one has left, and removes it.
        let flags = ["--cgroup", cgroup, "--bpffs", at];
        let run = ChildGuard::spawn(&mut state.command(at_the_start(), &flags));
        let place = instance.dir().join("g1").join(MapRole::Config.name());
        wait_until("root has taken over, and what the user has put there is gone", || {
            let is_left = fs::symlink_metadata(instance.dir().join("g1")).is_ok_and(|data| data.is_symlink());
            !is_left && !fs::symlink_metadata(&place).is_ok_and(|data| data.is_symlink() || data.nlink() > 1)
        });
        drop(run);
        assert_eq!((fs::metadata(&secret).unwrap().uid(), fs::metadata(&roots).unwrap().uid()), (0, 0), "{what:?}");
        fs::remove_dir_all(&roots).unwrap();
        fs::rename(instance.dir().join("before"), instance.dir().join("g1")).ok();
        let detached = fixture.sidestep("detach", &["--cgroup", cgroup]);
        assert!(detached.status.success(), "{what:?}: {detached:?}");
        drop(map);
        fixture.is_gone(&seen);
    }
}
