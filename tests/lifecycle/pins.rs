//! Pins where others could reach them, pins of an older version, and what a failed command leaves.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown, symlink};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use sidestep::agent::Problem;
use sidestep::agent::lifecycle::Status;

use crate::fixture::{Fixture, Version, ensure};

/// A user without rights: 65534 is one on every Linux.
const OTHER_USER: u32 = 65_534;

fn top(fixture: &Fixture) -> PathBuf {
    fixture.bpffs().join("sidestep")
}

/// `attach` and `status` refuse the pins with one sentence that has this in it.
fn refused(fixture: &Fixture, why: &str) {
    let attach = fixture.sidestep("attach", &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
    for output in [attach, fixture.sidestep("status", &[])] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(why) && said.contains("--bpffs"), "{why}: {said}");
    }
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let fixture = Fixture::new();
    fs::create_dir(top(&fixture)).unwrap();
    chown(top(&fixture), Some(OTHER_USER), None).unwrap();
    refused(&fixture, "belongs to user 65534");
    chown(top(&fixture), Some(0), None).unwrap();
    // Inside a directory of ours, another user's can come only from before it was ours.
    fs::create_dir(top(&fixture).join("v2")).unwrap();
    chown(top(&fixture).join("v2"), Some(OTHER_USER), None).unwrap();
    refused(&fixture, "belongs to user 65534");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let fixture = Fixture::new();
    DirBuilder::new().mode(0o700).create(top(&fixture)).unwrap();
    fs::set_permissions(top(&fixture), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    refused(&fixture, "can be written by other users");
}

#[test]
fn a_symbolic_link_is_refused() {
    let fixture = Fixture::new();
    let elsewhere = fixture.bpffs().join("elsewhere");
    DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
    symlink(&elsewhere, top(&fixture)).unwrap();
    refused(&fixture, "is a symbolic link");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "pins were put where the link leads");
}

#[test]
fn a_lock_that_is_held_is_a_sentence_that_names_the_process() {
    let fixture = Fixture::new();
    ensure(&fixture.instance(), &fixture.cgroup(), Version::First, &mut |_| {});
    let seen = fixture.is_healthy();
    let lock = fs::File::open(fixture.instance().dir()).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
    let output = fixture.sidestep("detach", &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&format!("process {} (", std::process::id())), "{said}");
    drop(lock);
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}

#[test]
fn pins_of_an_older_version_are_named_and_not_attached_beside() {
    let fixture = Fixture::new();
    let older = top(&fixture).join("v1").join(format!("c{}", fixture.cgroup().id().unwrap()));
    DirBuilder::new().recursive(true).mode(0o700).create(&older).unwrap();
    let path = older.to_str().unwrap();
    for command in ["attach", "upgrade", "run"] {
        let output = fixture.sidestep(command, &["--cgroup", fixture.cgroup_path().to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(path) && said.contains("older"), "{command}: {said}");
    }
    let status = Status::read(Some(&fixture.pins())).unwrap();
    assert_eq!(status.problems, [Problem::OlderPins(older.clone())]);
    assert!(!status.is_healthy());
    fs::remove_dir(older).unwrap();
    assert!(fixture.succeeds("attach", &[]).starts_with("attached"));
}

#[test]
fn a_command_that_fails_leaves_no_directory() {
    let fixture = Fixture::new();
    let cgroup = fixture.cgroup_path().to_str().unwrap();
    for command in ["run", "attach"] {
        let output = fixture.sidestep(command, &["--cgroup", cgroup, "--exclude-cgroup", "/no/such/cgroup"]);
        assert!(!output.status.success(), "{command}: {output:?}");
        assert!(!top(&fixture).exists(), "{command} leaves {:?}", top(&fixture));
    }
    // The same where the programs do not load: no process may create maps and programs here.
    for command in ["run", "attach"] {
        let output = std::process::Command::new("setpriv")
            .args(["--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin"])
            .arg(env!("CARGO_BIN_EXE_sidestep"))
            .args([command, "--cgroup", cgroup, "--bpffs"])
            .arg(fixture.bpffs())
            .output()
            .expect("setpriv of util-linux runs");
        assert!(!output.status.success(), "{command}: {output:?}");
        assert!(!top(&fixture).exists(), "{command} leaves {:?}", top(&fixture));
    }
}
