//! An agent that runs as another user than root: what it may do, what goes on working, and what the user's other processes cannot do.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use sidestep::agent::{CAPABILITIES_TO_CHANGE_USER, capabilities};
use sidestep::dataplane::MapRole;
use sidestep::syscall::caps::{Capabilities, Capability, keep_only};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::syscall::{Map, MapSpec, bpffs};
use sidestep::uapi::MapType;

use crate::fixture::Fixture;
use crate::owner::thread_status;
use crate::reload::{File, exclude, reloaded};
use crate::streams::{Probe, Streams, listener};
use crate::support::agent::{self, Agent};
use crate::support::child::ChildGuard;
use crate::support::machine::unique;
use crate::support::wait::wait_until;

/// A user without rights: 65534 is one on every Linux.
const USER: u32 = 65_534;

/// A directory for the file of programs that splice, removed with the test.
pub(crate) struct State(PathBuf);

impl State {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(unique("sidestep-state")))
    }

    /// `run` with these capabilities and flags.
    pub(crate) fn command(&self, capabilities: Vec<Capability>, flags: &[&str]) -> Command {
        let mut command = agent::command();
        // SAFETY: system calls, and memory of a process that has one thread.
        unsafe { command.pre_exec(move || keep_only(&capabilities).map_err(std::io::Error::other)) };
        command.env("STATE_DIRECTORY", &self.0).args(flags);
        command
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What an agent with --user is started with, as the documentation has it.
pub(crate) fn at_the_start() -> Vec<Capability> {
    [capabilities(), CAPABILITIES_TO_CHANGE_USER.to_vec()].concat()
}

/// The words after `name` in a thread's status.
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect()
}

/// The other user, without any group, with the capabilities that are documented and no other, in each thread.
#[track_caller]
fn is_the_other_user(agent: &Agent) {
    let threads = thread_status(agent.id());
    assert!(threads.len() > 1, "it has one thread only, so this says nothing of threads");
    let kept = Capabilities::of(&[capabilities(), vec![Capability::DacReadSearch]].concat());
    for status in threads {
        assert_eq!([field(&status, "Uid"), field(&status, "Gid")], [["65534"; 4], ["65534"; 4]], "{status}");
        assert_eq!(field(&status, "Groups"), [""; 0], "{status}");
        for (set, wanted) in
            [("CapPrm", kept), ("CapEff", kept), ("CapInh", Capabilities::of(&[])), ("CapAmb", Capabilities::of(&[]))]
        {
            assert_eq!(field(&status, set), [wanted.to_string()], "{set}: {status}");
        }
        assert_eq!([field(&status, "NoNewPrivs"), field(&status, "Seccomp")], [["1"], ["2"]], "{status}");
    }
}

/// Answers of the agent to HTTP.
fn get(agent: &Agent, path: &str) -> String {
    let address = agent.said.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Runs `work` with the rights to files that a process of the other user has.
pub(crate) fn as_the_other_user<T>(work: impl FnOnce() -> T) -> T {
    // For this thread alone.
    setfsgid(Gid::from_raw(USER));
    setfsuid(Uid::from_raw(USER));
    let _root_again = RootAgain;
    work()
}

/// Gives a thread back what it had, also where an assertion fails.
struct RootAgain;

impl Drop for RootAgain {
    fn drop(&mut self) {
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
    }
}

/// Everyone may pass through the mount, as where it is not systemd's.
pub(crate) fn open_mount(fixture: &Fixture) {
    fs::set_permissions(fixture.bpffs(), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn it_has_what_is_documented_and_does_all_that_an_agent_does() {
    let (fixture, state) = (Fixture::new(), State::new());
    let file = File::new(&fixture);
    file.write("user = 65534\nmetrics = \"127.0.0.1:0\"\n");
    let mut command = state.command(at_the_start(), &["--config"]);
    let run = Agent::start(command.arg(&file.path));
    is_the_other_user(&run);
    assert_eq!(fs::metadata(&state.0).unwrap().uid(), USER, "the file of programs that splice could not be written");
    let mut seen = fixture.is_healthy();
    assert_eq!(fs::metadata(fixture.instance().dir()).unwrap().uid(), USER);
    let [forbidden, allowed] = [listener(), listener()];
    let streams = [Streams::start_on(&forbidden, 8), Streams::start_on(&allowed, 8)];
    let carry = || streams.iter().for_each(|streams| streams.carry(1 << 20));
    let [leaves, stays] = [Probe::on(&forbidden), Probe::on(&allowed)];
    carry();
    assert!(leaves.is_redirected() && stays.is_redirected(), "nothing is redirected");
    assert!(get(&run, "/metrics").contains("sidestep_"));

    file.write(&format!("user = 65534\nmetrics = \"127.0.0.1:0\"\n{}", exclude(&forbidden)));
    assert!(reloaded(&fixture).contains("programs replaced"));
    seen.extend(fixture.is_healthy());
    wait_until("connections to the forbidden port leave", || !leaves.is_redirected());
    assert!(stays.is_redirected());

    // What root makes in the agent's directory is the agent's, which goes on with it.
    let more = Cgroup::create(&fixture.cgroup_path().parent().unwrap().join(unique("sidestep-user"))).unwrap();
    let flags = ["--cgroup", fixture.cgroup_path().to_str().unwrap(), more.path().to_str().unwrap()];
    let added = fixture.sidestep_cgroup("add", &flags);
    assert!(added.status.success(), "{added:?}");
    assert!(fixture.succeeds("upgrade", &["--exclude-port", "1"]).contains("replaced"));
    seen.extend(fixture.is_healthy());
    carry();
    let removed = fixture.sidestep_cgroup("remove", &[more.path().to_str().unwrap()]);
    assert!(removed.status.success(), "{removed:?}");
    fs::remove_dir(more.path()).unwrap();
    file.write("user = 65534\nmetrics = \"127.0.0.1:0\"\n");
    reloaded(&fixture);
    seen.extend(fixture.is_healthy());
    let mine = |dir: &Path| fs::read_dir(dir).unwrap().all(|entry| entry.unwrap().metadata().unwrap().uid() == USER);
    assert!(mine(fixture.instance().dir()), "something in its directory is not the agent's");
    is_the_other_user(&run);
    carry();

    assert!(run.stop().out.contains("detached; nothing is left"));
    streams.into_iter().for_each(Streams::finish);
    fixture.is_gone(&seen);
}

#[test]
fn root_and_the_other_user_take_over_from_each_other() {
    let (fixture, state) = (Fixture::new(), State::new());
    let bpffs = fixture.bpffs().to_str().unwrap().to_owned();
    let cgroup = fixture.cgroup_path().to_str().unwrap().to_owned();
    let all = ["--interval", "1", "--trust", "all", "--cgroup", &cgroup, "--bpffs", &bpffs];
    let start = |user: &[&str]| Agent::start(&mut state.command(at_the_start(), &[&all, user].concat()));
    let other = ["--user", "65534"];
    let run = start(&other);
    let seen = fixture.is_healthy();
    let (streams, probe) = (Streams::start(16), Probe::new());
    streams.carry(1 << 20);
    run.kill();
    let owner = || fs::metadata(fixture.instance().dir()).unwrap().uid();
    for (user, uid) in [(&[][..], 0), (&other[..], USER), (&["--user", "65533:0"][..], 65_533), (&[][..], 0)] {
        let run = start(user);
        assert!(run.said.contains("taking over"), "{}", run.said);
        assert_eq!((owner(), fixture.is_healthy()), (uid, seen.clone()), "{user:?}");
        assert_eq!(fs::metadata(&state.0).map_or(uid, |state| state.uid()), uid);
        assert!(probe.is_redirected(), "nothing is redirected as {user:?}");
        streams.carry(1 << 20);
        run.kill();
    }
    // Without an agent root does with it what it does with its own.
    start(&other).kill();
    assert!(fixture.succeeds("upgrade", &["--exclude-port", "1"]).contains("replaced"));
    let seen = [seen, fixture.is_healthy()].into_iter().flatten().collect();
    streams.carry(1 << 20);
    fixture.succeeds("detach", &[]);
    streams.finish();
    fixture.is_gone(&seen);
}

#[test]
fn the_users_other_processes_reach_no_pin_that_is_not_theirs() {
    let (fixture, state) = (Fixture::new(), State::new());
    open_mount(&fixture);
    let secret = fixture.bpffs().join("secret");
    let map = Map::create(&MapSpec::new("of_root", MapType::ARRAY, 4, 8, 1)).unwrap();
    map.pin(&secret).unwrap();
    let (cgroup, mount) = (fixture.cgroup_path().to_str().unwrap(), fixture.bpffs().to_str().unwrap());
    let flags = ["--cgroup", cgroup, "--bpffs", mount, "--keep", "--user", "65534"];
    Agent::start(&mut state.command(at_the_start(), &flags)).stop();
    let instance = fixture.instance();
    as_the_other_user(|| {
        for directory in instance.directories() {
            let denied = |done: std::io::Result<()>| {
                assert_eq!(done.unwrap_err().kind(), ErrorKind::PermissionDenied, "{}", directory.display());
            };
            denied(fs::rename(directory, directory.with_file_name("moved")));
            denied(fs::create_dir(directory.with_file_name("c1")));
            denied(symlink("/", directory.with_file_name("c2")));
        }
    });
    // In its own directory it can put a link. It leads root to nothing that the user cannot open, and is not taken for a pin.
    let hidden = fixture.bpffs().join("hidden");
    fs::DirBuilder::new().mode(0o700).create(&hidden).unwrap();
    let to_hidden = instance.dir().join("g2");
    as_the_other_user(|| symlink(&hidden, &to_hidden)).unwrap();
    assert!(bpffs::names(&to_hidden).unwrap_err().to_string().contains("Permission denied"));
    as_the_other_user(|| fs::remove_file(&to_hidden)).unwrap();
    fs::remove_dir(&hidden).unwrap();
    let link = instance.dir().join("g1").join(MapRole::Config.name());
    as_the_other_user(|| fs::remove_file(&link).and_then(|()| symlink(&secret, &link)).unwrap());
    let upgraded = fixture.sidestep("upgrade", &["--cgroup", cgroup, "--exclude-port", "1"]);
    let said = String::from_utf8(upgraded.stderr).unwrap();
    assert!(!upgraded.status.success() && said.contains("is a symbolic link"), "{said}");
    assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap(), [0; 8], "root has written to its own map for the user");
    // Nor does it keep one when root takes over, or a directory that it has let everyone write.
    let generation = fs::File::open(instance.dir().join("g1")).unwrap();
    as_the_other_user(|| fs::set_permissions(instance.dir().join("g1"), Permissions::from_mode(0o777)).unwrap());
    let flags = ["--cgroup", cgroup, "--bpffs", mount];
    let run = ChildGuard::spawn(&mut state.command(at_the_start(), &flags));
    // First the directory is root's, and then what is in it.
    wait_until("root has taken over, and the link is gone", || {
        let is_roots = fs::metadata(instance.dir()).map_or(true, |data| data.uid() == 0);
        is_roots && !fs::symlink_metadata(&link).is_ok_and(|data| data.is_symlink())
    });
    drop(run);
    let kept = format!("/proc/self/fd/{}/late", generation.as_raw_fd());
    let late = as_the_other_user(|| symlink(&secret, kept));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::PermissionDenied, "it can still write where root works");
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    fs::remove_file(&secret).unwrap();
    let detached = fixture.sidestep("detach", &["--cgroup", cgroup]);
    assert!(detached.status.success(), "{detached:?}");
}

/// It does not start, and says why in one sentence.
#[track_caller]
fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why) && said.lines().count() == 1, "{why}: {output:?}");
}

#[test]
fn what_the_user_cannot_do_is_refused_before_anything_is_attached() {
    let (fixture, state) = (Fixture::new(), State::new());
    let file = File::new(&fixture);
    file.write("user = 65534\n");
    fs::set_permissions(&file.path, Permissions::from_mode(0o600)).unwrap();
    let mut few = at_the_start();
    few.retain(|capability| *capability != Capability::DacReadSearch);
    let start = |capabilities: &[Capability]| {
        let mut command = state.command(capabilities.to_vec(), &["--config"]);
        command.arg(&file.path).output().unwrap()
    };
    refused(&start(&few), "start with CAP_DAC_READ_SEARCH, or mount");
    open_mount(&fixture);
    refused(&start(&few), "let that user read it");
    refused(&start(&capabilities()), "with chown");
    assert_eq!(fs::metadata(&state.0).unwrap().uid(), 0, "something was given away");
    fs::write(state.0.join("other"), "").unwrap();
    fs::set_permissions(&state.0, Permissions::from_mode(0o700)).unwrap();
    nix::unistd::chown(&state.0, Some(Uid::from_raw(0)), None).unwrap();
    refused(&start(&at_the_start()), "chown");
    assert!(fixture.status().is_none() && !fixture.bpffs().join("sidestep").exists(), "it leaves something");
}

#[test]
fn a_user_is_a_number_that_is_not_roots() {
    for (user, why) in
        [("root2", "is not UID or UID:GID in numbers"), ("-1", "is not UID or UID:GID"), ("0", "is root")]
    {
        let run = Command::new(env!("CARGO_BIN_EXE_sidestep"))
            .args(["run", "--cgroup", "/sys/fs/cgroup", "--user", user])
            .output()
            .unwrap();
        refused(&run, why);
    }
}
