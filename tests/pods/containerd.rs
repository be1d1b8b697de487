//! containerd with directories of its own. Everything that it has started ends with the value, also when a test fails.

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

use crate::messages::{Empty, RunPodSandboxRequest, RunPodSandboxResponse, SandboxRequest};
use crate::pause;
use crate::support::child::ChildGuard;
use crate::support::machine::{is_guest, unique};
use crate::support::wait::{timeout, wait_for, wait_until};

pub(crate) struct Containerd {
    dir: PathBuf,
    process: Option<ChildGuard>,
    runtime: tokio::runtime::Runtime,
    /// Sandboxes that have not been removed.
    sandboxes: Vec<String>,
    /// Cgroups of pods, below the mounts of all hierarchies.
    places: Vec<PathBuf>,
}

impl Containerd {
    /// Starts it, with the image.
    pub(crate) fn start() -> Self {
        let dir = std::env::temp_dir().join(unique("sidestep-containerd"));
        fs::create_dir_all(dir.join("cni")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut containerd = Self { dir, process: None, runtime, sandboxes: Vec::new(), places: Vec::new() };
        fs::write(containerd.dir.join("config.toml"), containerd.config()).unwrap();
        containerd.go_on();
        let archive = pause::write(&containerd.dir);
        let address = containerd.socket();
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(address).args(["--namespace", "k8s.io", "images", "import", "--no-unpack"]);
        // The CRI plug-in learns of an image by an event.
        pause::output(ctr.arg(archive));
        containerd
    }

    /// For containerd 1.6, which Debian 12 has, and later ones.
    fn config(&self) -> String {
        let dir = self.dir.display();
        // pivot_root(2) does not leave an initramfs.
        let is_initramfs = is_guest();
        let name = pause::NAME;
        format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{name}"
disable_apparmor = true
enable_selinux = false
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
NoPivotRoot = {is_initramfs}
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{dir}/cni"
bin_dir = "{dir}/cni"
"#
        )
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Starts the process, and waits until it answers.
    pub(crate) fn go_on(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(self.dir.join("config.toml"));
        let streams = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(ChildGuard::spawn(streams));
        wait_for(|| {
            self.runtime.block_on(sandboxes(&self.socket())).map_err(|error| format!("{error}\n{}", self.log()))
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
        // The image may not have been taken notice of.
        let id = wait_for(|| {
            let made: Result<RunPodSandboxResponse, _> = self.call("RunPodSandbox", request);
            made.map(|made| made.pod_sandbox_id).map_err(|error| format!("{error}\n{}", self.log()))
        });
        self.sandboxes.push(id.clone());
        id
    }

    /// This cgroup goes with containerd, when no sandbox is in it any more.
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
        self.runtime.block_on(async {
            let client = Client::connect_within(&self.socket(), timeout()).await?;
            client.call(method, request).await
        })
    }
}

async fn sandboxes(socket: &Path) -> Result<usize, sidestep::pods::Error> {
    let client = Client::connect_within(socket, Duration::from_secs(5)).await?;
    Ok(client.sandboxes().await?.len())
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for id in self.sandboxes.clone() {
            // What does not end so is killed.
            if let Err(error) = self.end(&id) {
                eprintln!("{error}\n{}", self.log());
            }
        }
        self.pause();
        let is_ours = |path: &Path| path.starts_with(&self.dir);
        for shim in processes_of(&self.socket()) {
            let _ = kill(shim, Signal::SIGKILL);
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
            wait_until("the shims have ended", || processes_of(&self.socket()).is_empty());
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

/// The shims of a containerd, each of which names its socket.
fn processes_of(socket: &Path) -> Vec<Pid> {
    let socket = socket.as_os_str().as_encoded_bytes();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let names = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"/containerd-shim-runc-v2"))
            && words.any(|word| word == socket)
    };
    pids.filter(names).map(Pid::from_raw).collect()
}
