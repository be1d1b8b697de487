//! Groups of makers that work at the same time, and of makers that have gone.

use std::path::Path;
use std::process::Command;

use sidestep::testbed::TemporaryCgroup;

use crate::support::cgroup::TestCgroup;
use crate::support::child::ChildGuard;
use crate::support::machine::{is_emulated, require_root};

/// The variable with the order for a child; nothing but this test reads it.
const ORDER: &str = "SIDESTEP_TESTBED_CGROUP";
const PREFIX: &str = "made-by-";
const MAKERS: usize = 4;
/// Fewer where an emulator runs them.
const GROUPS: [usize; 2] = [200, 20];

/// The child: makes groups that go, and leaves the last one behind. Run by hand it has no order and does nothing.
#[test]
#[ignore = "the other test starts it"]
fn child() {
    let Ok(parent) = std::env::var(ORDER) else { return };
    let make = || TemporaryCgroup::new(Path::new(&parent), PREFIX).unwrap();
    for _ in 0..GROUPS[usize::from(is_emulated())] {
        let group = make();
        let inside = group.child("inside").unwrap();
        assert!(inside.exists(), "another maker has removed a group that is in use");
    }
    std::mem::forget(make());
}

#[test]
fn makers_at_the_same_time_remove_only_what_has_lost_its_maker() {
    if !require_root("groups of several makers") {
        return;
    }
    let parent = TestCgroup::new();
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cgroup::child", "--ignored", "--nocapture"]).env(ORDER, parent.path());
        ChildGuard::spawn(&mut command)
    };
    let makers: Vec<_> = (0..MAKERS).map(start).collect();
    for maker in makers {
        assert!(maker.end().status.success());
    }
    let left = || {
        let entries = std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(PREFIX)).count()
    };
    assert!(left() > 0, "the last maker has left its group behind");
    drop(TemporaryCgroup::new(parent.path(), PREFIX).unwrap());
    assert_eq!(left(), 0);
}
