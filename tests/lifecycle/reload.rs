//! A running agent whose configuration file changes: the new policy holds for connections that exist and for new ones, and what
//! is wrong with the file changes nothing.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sidestep::agent::{capabilities, monotonic};
use sidestep::syscall::caps::{Capabilities, Capability, keep_only};
use sidestep::syscall::cgroup::Cgroup;

use crate::existing::promised_until;
use crate::fixture::Fixture;
use crate::objects::objects;
use crate::streams::{Probe, Streams, listener};
use crate::support::agent::{self, Agent};
use crate::support::cgroup::{enter, remove};
use crate::support::feature::Feature;
use crate::support::wait::{timeout, wait_for, wait_until, wait_within};

/// A configuration file, removed with the test.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// What each version of it begins with.
    head: String,
}

impl File {
    pub(crate) fn new(fixture: &Fixture) -> Self {
        let name = fixture.cgroup_path().file_name().unwrap().to_str().unwrap();
        let path = std::env::temp_dir().join(format!("{name}.toml"));
        let mut file = Self { path, head: String::new() };
        file.names(fixture, &[fixture.cgroup_path()]);
        file
    }

    /// The cgroups of its next version.
    fn names(&mut self, fixture: &Fixture, cgroups: &[&Path]) {
        let bpffs = fixture.bpffs().display();
        // Paths of tests have no character that a string of Rust and one of TOML write differently.
        self.head = format!("cgroup = {cgroups:?}\nbpffs = \"{bpffs}\"\ntrust = \"all\"\ninterval = 1\ndrain = 1\n");
    }

    pub(crate) fn write(&self, rest: &str) {
        std::fs::write(&self.path, self.head.clone() + rest).unwrap();
    }

    fn start(&self) -> Agent {
        Agent::start(agent::command().arg("--config").arg(&self.path))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What a service manager is, as sd_notify(3) has it.
struct Manager {
    heard: Receiver<String>,
    path: PathBuf,
}

impl Manager {
    fn new(fixture: &Fixture) -> Self {
        let name = fixture.cgroup_path().file_name().unwrap().to_str().unwrap();
        let path = std::env::temp_dir().join(format!("{name}.socket"));
        let socket = UnixDatagram::bind(&path).unwrap();
        let (hear, heard) = channel();
        // It reads all the time, as managers do: the kernel's queue holds few messages. The thread ends with this process.
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(size) = socket.recv(&mut buffer) {
                if hear.send(String::from_utf8_lossy(&buffer[..size]).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { heard, path }
    }

    /// Has the process of this command tell it, and give signs of life.
    fn supervise(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "400000");
    }

    /// Waits for a message that begins so.
    #[track_caller]
    fn hears(&self, beginning: &str) {
        let (start, mut others) = (Instant::now(), Vec::new());
        loop {
            let left = timeout().saturating_sub(start.elapsed());
            let Ok(message) = self.heard.recv_timeout(left) else { panic!("not {beginning:?} but {others:?}") };
            if message.starts_with(beginning) {
                return;
            }
            others.push(message);
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn reload(fixture: &Fixture) -> Output {
    fixture.sidestep("reload", &[])
}

/// Reloads, which must succeed; what it prints.
#[track_caller]
pub(crate) fn reloaded(fixture: &Fixture) -> String {
    let output = reload(fixture);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Reloads, which must fail; the one sentence that says why.
#[track_caller]
fn refused(fixture: &Fixture) -> String {
    let output = reload(fixture);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    text
}

pub(crate) fn exclude(listener: &TcpListener) -> String {
    format!("exclude-port = {}\n", listener.local_addr().unwrap().port())
}

#[test]
fn a_policy_changes_under_load_and_each_mistake_changes_nothing() {
    let fixture = Fixture::new();
    let file = File::new(&fixture);
    file.write("");
    let mut command = agent::command();
    // SAFETY: system calls, and memory of a process that has one thread.
    unsafe { command.pre_exec(|| keep_only(&capabilities()).map_err(std::io::Error::other)) };
    let run = Agent::start(command.arg("--config").arg(&file.path));
    let documented = Capabilities::of(&capabilities());
    assert_eq!(Capabilities::of_process(run.id()).unwrap(), documented, "it has not what is documented, and only that");
    let mut seen = fixture.is_healthy();
    let [forbidden, allowed] = [listener(), listener()];
    let streams = [Streams::start_on(&forbidden, 8), Streams::start_on(&allowed, 8)];
    let [leaves, stays] = [Probe::on(&forbidden), Probe::on(&allowed)];
    let carry = || streams.iter().for_each(|streams| streams.carry(1 << 20));
    carry();
    assert!(leaves.is_redirected() && stays.is_redirected(), "nothing is redirected");

    for (text, sentence) in [
        ("prot = 80\n", "line 6: there is no key \"prot\"; did you mean port?"),
        ("port = \"http\"\n", "line 6: port: \"http\" is not a port"),
        ("port = [80\n", "this is not TOML"),
        ("keep = \"yes\"\n", "line 6: keep takes true or false"),
        ("exclude-cgroup = \"/no/such/cgroup\"\n", "/no/such/cgroup"),
        ("metrics = \"127.0.0.1:1\"\n", "another value of metrics takes another start"),
        ("log-format = \"json\"\n", "another value of log-format takes another start"),
    ] {
        file.write(text);
        let text = refused(&fixture);
        assert!(text.contains("the settings stay as they were: ") && text.contains(sentence), "{text}");
    }
    std::fs::remove_file(&file.path).unwrap();
    assert!(refused(&fixture).contains("No such file or directory"));
    assert_eq!(fixture.is_healthy(), seen, "a reload that was refused has changed something");
    assert!(leaves.is_redirected() && stays.is_redirected(), "a reload that was refused has an effect");

    file.write(&exclude(&forbidden));
    assert!(reloaded(&fixture).contains("programs replaced"));
    seen.extend(fixture.is_healthy());
    wait_until("connections to the forbidden port leave", || !leaves.is_redirected());
    assert!(!Probe::on(&forbidden).is_redirected(), "a new connection to the forbidden port is redirected");
    assert!(Probe::on(&allowed).is_redirected(), "a new connection to the allowed port is not redirected");
    assert!(stays.is_redirected(), "a connection to the allowed port has left");
    carry();

    file.write("");
    assert!(reloaded(&fixture).contains("programs replaced"));
    seen.extend(fixture.is_healthy());
    assert!(Probe::on(&forbidden).is_redirected(), "the port is allowed again");
    assert!(stays.is_redirected());
    carry();
    assert!(reloaded(&fixture).contains("so already"));

    let said = run.stop();
    assert!(said.out.contains("detached; nothing is left"), "{}", said.out);
    assert_eq!(said.err.matches("the settings stay as they were").count(), 8, "{}", said.err);
    streams.into_iter().for_each(Streams::finish);
    fixture.is_gone(&seen);
}

#[test]
fn the_cgroups_of_the_file_change_and_the_first_one_can_go() {
    let fixture = Fixture::new();
    let [one, two, three] =
        ["one", "two", "three"].map(|name| Cgroup::create(&fixture.cgroup_path().join(name)).unwrap());
    let mut file = File::new(&fixture);
    file.names(&fixture, &[one.path(), two.path()]);
    file.write("");
    let run = file.start();
    let instance = fixture.pins().instance(one.id().unwrap());
    let attached = || instance.cgroups().unwrap().iter().map(|cgroup| cgroup.id).collect::<Vec<_>>();
    assert_eq!(attached(), [&one, &two].map(|cgroup| cgroup.id().unwrap()));
    let mut seen = fixture.is_healthy();
    file.names(&fixture, &[two.path(), three.path()]);
    file.write("");
    // The agent is found by a cgroup that it has, old or new.
    reloaded(&fixture);
    assert_eq!(attached(), [&two, &three].map(|cgroup| cgroup.id().unwrap()));
    seen.extend(fixture.is_healthy());
    run.stop();
    fixture.is_gone(&seen);
}

#[test]
fn a_cgroup_that_the_file_excludes_goes_back_to_the_stack_and_comes_back() {
    let fixture = Fixture::new();
    let one = Cgroup::create(&fixture.cgroup_path().join("one")).unwrap();
    let file = File::new(&fixture);
    file.write("");
    let run = file.start();
    let mut seen = fixture.is_healthy();
    // A socket belongs to the cgroup in which it was made.
    let probe_inside = || {
        enter(one.path());
        let probe = Probe::new();
        enter(fixture.cgroup_path());
        probe
    };
    let (inside, outside) = (probe_inside(), Probe::new());
    assert!(inside.is_redirected() && outside.is_redirected(), "nothing is redirected");
    let adopts = Feature::Adoption.required("connections that a reload has sent back to the stack");
    let listener = listener();

    // While it is excluded, each other change takes new maps, too.
    for more in ["", &exclude(&listener)] {
        file.write(&format!("exclude-cgroup = {:?}\n{more}", one.path()));
        assert!(reloaded(&fixture).starts_with("settings read again: maps and programs replaced"));
        seen.extend(fixture.is_healthy());
        assert!(!inside.is_redirected(), "a connection inside is redirected");
        assert!(!probe_inside().is_redirected(), "a new connection inside is redirected");
        assert_eq!(outside.is_redirected(), adopts, "whether a connection outside is adopted again");
        assert!(Probe::new().is_redirected(), "a new connection outside is not redirected");
    }
    assert!(reloaded(&fixture).contains("so already"));

    file.write("");
    assert!(reloaded(&fixture).starts_with("settings read again: maps and programs replaced"));
    seen.extend(fixture.is_healthy());
    assert_eq!(inside.is_redirected(), adopts, "whether a connection inside is adopted");
    assert!(probe_inside().is_redirected(), "a new connection inside is not redirected");
    run.stop();
    fixture.is_gone(&seen);
    remove([one.path()]);
}

#[test]
fn sighup_reads_the_file_again_and_flags_win_over_the_environment_and_that_over_the_file() {
    let fixture = Fixture::new();
    let file = File::new(&fixture);
    file.write("exclude-port = 81\nexclude-cidr = \"10.0.0.0/8\"\nkeepalive = 7\n");
    let mut command = agent::command();
    command.env("SIDESTEP_CONFIG", &file.path).env("SIDESTEP_EXCLUDE_PORT", "82").env("SIDESTEP_KEEPALIVE", "8");
    let manager = Manager::new(&fixture);
    manager.supervise(&mut command);
    let run = Agent::start(command.args(["--keepalive", "9"]));
    manager.hears("READY=1\nSTATUS=accelerating ");
    manager.hears("WATCHDOG=1");
    let flags = || fixture.status().unwrap().flags;
    let wanted = ["--keepalive=9", "--exclude-port=82", "--exclude-cidr=10.0.0.0/8", "--trust=all"];
    assert_eq!(flags(), wanted);
    file.write("exclude-port = 83\nexclude-cidr = [\"10.0.0.0/9\", \"::1\"]\n");
    run.signal(Signal::SIGHUP);
    let wanted =
        ["--keepalive=9", "--exclude-port=82", "--exclude-cidr=10.0.0.0/9", "--exclude-cidr=::1", "--trust=all"];
    wait_until("the file is read again", || flags() == wanted);
    manager.hears("RELOADING=1\nMONOTONIC_USEC=");
    manager.hears("READY=1\nSTATUS=settings read again: programs replaced");
    manager.hears("WATCHDOG=1");
    let seen = fixture.is_healthy();
    run.stop();
    manager.hears("STOPPING=1");
    fixture.is_gone(&seen);
}

#[test]
fn looks_at_connections_that_exist_begin_and_end_with_the_setting() {
    let fixture = Fixture::new();
    if !Feature::Adoption.required("looks that begin and end with a reload") {
        return;
    }
    let mut file = File::new(&fixture);
    // Where all are trusted, no listener is left alone.
    file.head = file.head.replace("trust = \"all\"\n", "");
    file.write("existing = \"off\"\n");
    let run = file.start();
    let mut seen = objects(&fixture.status().unwrap());
    // A look, where there is any.
    let none = || {
        let start = monotonic();
        while monotonic() < start + Duration::from_secs(6) {
            let until = promised_until(&fixture).expect("readers are watched");
            assert!(until <= monotonic(), "it promises until {until:?} what it does not do");
            sleep(Duration::from_millis(100));
        }
    };
    none();
    file.write("existing = \"on\"\n");
    reloaded(&fixture);
    seen.extend(objects(&fixture.status().unwrap()));
    let promise = || promised_until(&fixture).filter(|until| *until > monotonic());
    let first = wait_for(|| promise().ok_or("it promises nothing"));
    // On a busy machine looks are up to a minute apart.
    let again = || promise().filter(|until| *until > first + Duration::from_secs(1)).ok_or("it does not look again");
    wait_within(timeout() + Duration::from_secs(120), again);
    file.write("existing = \"off\"\n");
    reloaded(&fixture);
    seen.extend(objects(&fixture.status().unwrap()));
    none();
    run.stop();
    fixture.is_gone(&seen);
}

#[test]
fn without_an_agent_that_can_reload_there_is_a_sentence() {
    let fixture = Fixture::new();
    assert!(refused(&fixture).contains("no agent runs"));
    let run = crate::owner::pinned(&fixture);
    let seen = fixture.is_healthy();
    let text = refused(&fixture);
    assert!(text.contains(&run.id().to_string()) && text.contains("without a configuration file"), "{text}");
    let has = Capabilities::of_process(run.id()).unwrap();
    assert!(has.has(Capability::Bpf) && !has.has(Capability::SysAdmin), "it has given up nothing");
    // It would have ended by SIGHUP.
    assert_eq!(fixture.is_healthy(), seen);
    run.kill();
    assert!(refused(&fixture).contains("no agent runs"));
    // What a killed owner has pinned for its answers goes with the rest.
    let file = File::new(&fixture);
    file.write("");
    let run = file.start();
    let seen = fixture.is_healthy();
    run.kill();
    fixture.succeeds("detach", &[]);
    fixture.is_gone(&seen);
}
