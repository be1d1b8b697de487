//! HAProxy: it may splice late, and its configuration says whether.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::others::{SPLICES, gets_every_byte, installed, named, said_of};
use crate::role::start;
use crate::running::{Place, readers_are_seen};
use crate::support::child::ChildGuard;
use crate::support::link::free_port;
use crate::support::machine::{require_root, unique};
use crate::support::wait::wait_until;

/// What the agent says of one that is configured to splice.
const CONFIGURED: &str = "is configured to read with splice(2)";
/// What it says when it cannot read the configuration.
const UNKNOWN: &str = "cannot be told";

/// A directory with a configuration, which goes with the test.
struct Configuration(PathBuf);

impl Configuration {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(unique("sidestep-haproxy"));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.join("haproxy.cfg")
    }

    /// Where a process sees nothing else.
    fn empty(&self) -> PathBuf {
        let directory = self.0.join("empty");
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// Starts HAProxy between two ports, with lines in its sections "global" and "defaults".
    fn start(&self, cgroup: &Path, [front, back]: [u16; 2], [global, defaults]: [&str; 2]) -> ChildGuard {
        let lines = format!(
            "global\n{global}\ndefaults\n mode tcp\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n{defaults}\n\
             listen relay\n bind 127.0.0.1:{front}\n server echo 127.0.0.1:{back}\n"
        );
        fs::write(self.file(), lines).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(self.file());
        ChildGuard::spawn_in(cgroup, &mut command)
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every byte arrives through an HAProxy with these lines. It is known to splice by its configuration, unless it splices at once.
fn is_seen_to_splice(test: &str, global: impl Fn(&Configuration) -> String, defaults: &str) {
    if !require_root(test) || !installed(test, "haproxy") {
        return;
    }
    let (place, configuration) = (Place::new(), Configuration::new());
    let global = global(&configuration);
    let said = gets_every_byte(&place, "drive", &[CONFIGURED, SPLICES], |place, front, back| {
        configuration.start(place.cgroup(), [front, back], [&global, defaults])
    });
    let remembers = place.remembered().lines().any(|line| line.contains("haproxy"));
    assert_eq!(remembers, said.contains(SPLICES), "a configuration can change: {said}");
    assert!(!said.contains("was reset") && !said.contains(UNKNOWN), "{said}");
}

#[test]
fn haproxy_splice_auto_gets_every_byte() {
    is_seen_to_splice("haproxy_splice_auto_gets_every_byte", |_| String::new(), " option splice-auto");
}

#[test]
fn haproxy_splice_response_gets_every_byte() {
    let options = " option splice-request\n option splice-response";
    is_seen_to_splice("haproxy_splice_response_gets_every_byte", |_| String::new(), options);
}

#[test]
fn haproxy_that_has_confined_itself_gets_every_byte() {
    let chroot = |configuration: &Configuration| format!(" chroot {}", configuration.empty().display());
    is_seen_to_splice("haproxy_that_has_confined_itself_gets_every_byte", chroot, " option splice-auto");
}

/// Starts an HAProxy that does not splice, and sends round trips through it until the client's bytes go past the stack, or `most` have not. What the agent has said of it.
fn accelerates(test: &str, most: usize, before: impl Fn(&Configuration)) -> Option<(bool, String)> {
    if !require_root(test) || !installed(test, "haproxy") || !readers_are_seen(test) {
        return None;
    }
    let (place, configuration) = (Place::new(), Configuration::new());
    let chroot = format!(" chroot {}", configuration.empty().display());
    let running = place.run(&[]);
    let [front, back] = [free_port(), free_port()];
    let _echo = start(place.cgroup(), &format!("echo {back}"));
    let haproxy = configuration.start(place.cgroup(), [front, back], [&chroot, " no option splice-auto"]);
    wait_until("HAProxy listens", || TcpStream::connect(("127.0.0.1", front)).is_ok());
    before(&configuration);
    let done = start(place.cgroup(), &format!("tries {front} {most}")).wait().unwrap().success();
    Some((done, said_of(&running.stop().err, &[named(haproxy.id())])))
}

#[test]
fn haproxy_that_does_not_splice_is_accelerated() {
    let Some((done, said)) = accelerates("haproxy_that_does_not_splice_is_accelerated", 2_000, |_| {}) else { return };
    assert!(done, "its connection stayed on the stack");
    assert!(!said.contains(CONFIGURED) && !said.contains(UNKNOWN), "{said}");
}

#[test]
fn haproxy_whose_configuration_cannot_be_read_stays_on_the_stack() {
    let test = "haproxy_whose_configuration_cannot_be_read_stays_on_the_stack";
    let remove = |configuration: &Configuration| fs::remove_file(configuration.file()).unwrap();
    let Some((done, said)) = accelerates(test, 400, remove) else { return };
    assert!(!done, "it was trusted");
    assert!(said.contains(UNKNOWN) && said.contains("--trust program:"), "{said}");
}
