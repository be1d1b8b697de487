//! The container runtime of a test, with directories of its own. Everything that it has started ends with the value, also when a test fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prost::Message;
use sidestep::pods::cri::Client;
use sidestep::syscall::mounts;

use crate::crio::Node;
use crate::messages::{Empty, RunPodSandboxRequest, RunPodSandboxResponse, SandboxRequest};
use crate::support::child::ChildGuard;
use crate::support::machine::unique;
use crate::support::wait::{timeout, wait_for, wait_until};
use crate::{containerd, crio};

/// The variable that names the runtime of all tests.
const CHOICE: &str = "PODS_RUNTIME";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Containerd,
    Crio(Node),
}

impl Kind {
    /// containerd, unless the environment names another one.
    fn chosen() -> Self {
        match std::env::var(CHOICE).as_deref() {
            Err(_) | Ok("containerd") => Self::Containerd,
            Ok("crio") => Self::Crio(Node::Cgroupfs),
            Ok("crio-systemd") => Self::Crio(Node::Systemd),
            Ok(other) => panic!("{CHOICE}={other}: it is containerd, crio or crio-systemd"),
        }
    }
}

pub(crate) struct Runtime {
    kind: Kind,
    dir: PathBuf,
    command: Command,
    process: Option<ChildGuard>,
    event_loop: tokio::runtime::Runtime,
    /// Sandboxes that have not been removed.
    sandboxes: Vec<String>,
    /// Cgroups of pods, below the mounts of all hierarchies.
    places: Vec<PathBuf>,
}

impl Runtime {
    /// Starts it, with the image.
    pub(crate) fn start() -> Self {
        let kind = Kind::chosen();
        let dir = std::env::temp_dir().join(unique("sidestep-runtime"));
        fs::create_dir_all(&dir).unwrap();
        let command = match kind {
            Kind::Containerd => containerd::prepare(&dir),
            Kind::Crio(node) => crio::prepare(&dir, node),
        };
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sandboxes, places) = (Vec::new(), Vec::new());
        let mut runtime = Self { kind, dir, command, process: None, event_loop, sandboxes, places };
        runtime.go_on();
        if let Kind::Containerd = kind {
            containerd::import(&runtime.dir, &runtime.socket());
        }
        runtime
    }

    /// The node of a CRI-O, which has one cgroup driver; with containerd a pod can be in the place of either.
    pub(crate) fn crio(&self) -> Option<Node> {
        match self.kind {
            Kind::Containerd => None,
            Kind::Crio(node) => Some(node),
        }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("cri.sock")
    }

    /// Starts the process, and waits until it answers.
    pub(crate) fn go_on(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let streams = self.command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(ChildGuard::spawn(streams));
        wait_for(|| {
            self.event_loop.block_on(sandboxes(&self.socket())).map_err(|error| format!("{error}\n{}", self.log()))
        });
    }

    /// Ends the process. Sandboxes go on.
    pub(crate) fn pause(&mut self) {
        drop(self.process.take().map(|process| process.stop(Signal::SIGTERM)));
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Runs a sandbox; its ID.
    pub(crate) fn run(&mut self, request: &RunPodSandboxRequest) -> String {
        // The runtime may not have noticed the image yet.
        let id = wait_for(|| {
            let made: Result<RunPodSandboxResponse, _> = self.call("RunPodSandbox", request);
            made.map(|made| made.pod_sandbox_id).map_err(|error| format!("{error}\n{}", self.log()))
        });
        self.sandboxes.push(id.clone());
        id
    }

    /// This cgroup goes with the runtime, when no sandbox is in it any more.
    pub(crate) fn removes_at_the_end(&mut self, place: &Path) {
        self.places.push(place.to_owned());
    }

    /// Ends a sandbox and removes it.
    #[track_caller]
    pub(crate) fn remove(&mut self, id: &str) {
        self.end(id).unwrap();
    }

    fn end(&mut self, id: &str) -> Result<(), sidestep::pods::Error> {
        let request = SandboxRequest { pod_sandbox_id: id.to_owned() };
        let _: Empty = self.call("StopPodSandbox", &request)?;
        let _: Empty = self.call("RemovePodSandbox", &request)?;
        self.sandboxes.retain(|known| known != id);
        Ok(())
    }

    fn call<Q: Message, A: Message + Default>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<A, sidestep::pods::Error> {
        self.event_loop.block_on(async {
            let client = Client::connect_within(&self.socket(), timeout()).await?;
            client.call(method, request).await
        })
    }

    /// Processes that keep containers while the runtime may be away.
    fn helpers(&self) -> Vec<Pid> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            match self.kind {
                Kind::Containerd => containerd::is_helper(&words, &self.socket()),
                Kind::Crio(_) => crio::is_helper(&words, &self.dir),
            }
        };
        pids.filter(is_ours).map(Pid::from_raw).collect()
    }
}

async fn sandboxes(socket: &Path) -> Result<usize, sidestep::pods::Error> {
    let client = Client::connect_within(socket, Duration::from_secs(5)).await?;
    Ok(client.sandboxes().await?.len())
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for id in self.sandboxes.clone() {
            // A helper that is left is killed below.
            if let Err(error) = self.end(&id) {
                eprintln!("{error}\n{}", self.log());
            }
        }
        self.pause();
        let is_ours = |path: &Path| path.starts_with(&self.dir);
        for helper in self.helpers() {
            let _ = kill(helper, Signal::SIGKILL);
        }
        let mounts = mounts().unwrap_or_default();
        for place in &self.places {
            for mount in mounts.iter().filter(|mount| mount.fs_type.starts_with("cgroup")) {
                remove(&mount.point, place);
            }
        }
        for mount in mounts.iter().rev().filter(|mount| is_ours(&mount.point)) {
            let _ = umount2(&mount.point, MntFlags::MNT_DETACH);
        }
        let removed = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            removed.unwrap();
            wait_until("what keeps containers has ended", || self.helpers().is_empty());
        }
    }
}

/// Removes the cgroup of a pod, and those above it in which no other is.
fn remove(mount: &Path, place: &Path) {
    let path = mount.join(place);
    let is_gone = || match remove_all(&path) {
        Err(error) if path.exists() => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    };
    if std::thread::panicking() {
        let _ = is_gone();
    } else {
        wait_for(is_gone);
    }
    for above in place.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let _ = fs::remove_dir(mount.join(above));
    }
}

/// Removes a group and those in it.
fn remove_all(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_all(&entry.path())?;
    }
    fs::remove_dir(path)
}
