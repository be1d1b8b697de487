//! A container that runc runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::TemporaryDirectory;
use crate::support::agent::{Agent, Said};
use crate::support::machine::{missing, unique};

/// Whether runc is installed; a failure where `CI` is set.
pub(crate) fn is_possible() -> bool {
    let here = Command::new("runc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    here || missing("packages", "it takes Debian's package runc")
}

/// A running `sidestep run` in a container, which has attached. It is killed and deleted with the value.
pub(crate) struct Container {
    /// runc, which hands on signals, and ends with the container and its exit status. Its streams are the container's.
    runc: Option<Agent>,
    name: String,
    bundle: TemporaryDirectory,
}

impl Container {
    /// Starts it in the caller's cgroup2 group, and waits until it says that it has attached.
    #[track_caller]
    pub(crate) fn start(config: &Value) -> Self {
        let bundle = TemporaryDirectory::new();
        std::fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let mut container = Self { runc: None, name: unique("sidestep-test"), bundle };
        let mut command = runc(container.bundle.path());
        command.args(["run", "--bundle"]).arg(container.bundle.path()).arg(&container.name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        container.runc = Some(Agent::start(&mut command));
        container
    }

    /// The process ID on this machine.
    pub(crate) fn id(&self) -> u64 {
        let state = runc(self.bundle.path()).arg("state").arg(&self.name).output().unwrap();
        serde_json::from_slice::<Value>(&state.stdout).unwrap()["pid"].as_u64().unwrap()
    }

    /// The status of an HTTP request that comes from within its network namespace.
    #[track_caller]
    pub(crate) fn probe(&self, port: u64, path: &str) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.id()));
        command.args(["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "10"]);
        let output = command.arg(format!("http://127.0.0.1:{port}{path}")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it said until it had attached.
    pub(crate) fn said(&self) -> &str {
        &self.runc.as_ref().unwrap().said
    }

    /// Runs a command of its image in it, as `kubectl exec` does.
    pub(crate) fn exec(&self, words: &[&str]) -> Output {
        runc(self.bundle.path()).args(["exec", &self.name]).args(words).output().unwrap()
    }

    /// Its namespaces, as links in /proc name them.
    pub(crate) fn namespaces(&self) -> Vec<PathBuf> {
        let link = |kind: &str| std::fs::read_link(format!("/proc/{}/ns/{kind}", self.id())).unwrap();
        ["mnt", "net", "ipc", "uts"].map(link).to_vec()
    }

    /// SIGTERM, after which it must end with success.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Said {
        self.runc.take().unwrap().stop()
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(self) {
        let sent = runc(self.bundle.path()).args(["kill", &self.name, "KILL"]).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It is gone already when the test has stopped it.
        let _ = runc(self.bundle.path()).args(["delete", "--force", &self.name]).output();
    }
}

/// runc, with its state in the bundle's directory.
fn runc(bundle: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(bundle.join("state"));
    command
}
