//! Two pods with an Envoy each, in a cgroup; gone when the value is dropped.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, write};
use sidestep::agent::{Acceleration, TierChoice, choose_tier};
use sidestep::dataplane::{Config, Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::testbed::{INBOUND_PORT, NetNs, OUTBOUND_PORT, Pods, SIDECAR_ID};

use crate::envoy::{Proxying, bootstrap};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Fields drop in this order: processes before what they live in.
pub(crate) struct Mesh {
    pub(crate) processes: Vec<Daemon>,
    pub(crate) pods: Pods,
    folder: PathBuf,
    cgroup: PathBuf,
}

impl Mesh {
    pub(crate) fn new(envoy: &Path, proxying: Proxying) -> Self {
        let name = format!("sidestep-mesh-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let cgroup = cgroup::find().unwrap().unwrap().join(&name);
        std::fs::create_dir(&cgroup).unwrap();
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        open(&folder, 0o777);
        let mut mesh = Self { processes: Vec::new(), pods: Pods::new(false).unwrap(), folder, cgroup };
        let config = mesh.folder.join("envoy.json");
        std::fs::write(&config, bootstrap(proxying).to_string()).unwrap();
        open(&config, 0o644);
        let binary = File::open(envoy).unwrap();
        for (pod, port, name) in
            [(&mesh.pods.client, OUTBOUND_PORT, "client-envoy"), (&mesh.pods.server, INBOUND_PORT, "server-envoy")]
        {
            // By descriptor: the sidecar's user may not be allowed to walk to the binary.
            let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
            command.args(["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart", "-c"]).arg(&config);
            let mut daemon = mesh.start(command, pod, SIDECAR_ID, name);
            daemon.wait_for(pod, port);
            mesh.processes.push(daemon);
        }
        mesh
    }

    /// The cgroup of all processes.
    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// CPU time of all processes so far, microseconds: cgroup_base_stat_cputime_show, kernel/cgroup/rstat.c.
    pub(crate) fn cpu_usec(&self) -> u64 {
        let text = std::fs::read_to_string(self.cgroup.join("cpu.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Accelerates the mesh from now on.
    pub(crate) fn accelerate(&self, pairing: Pairing) -> Acceleration {
        let options = Options {
            pairing,
            tier: choose_tier(TierChoice::Auto).unwrap().0,
            readers: Readers::NonBlocking,
            policy: Policy::default(),
        };
        Acceleration::start(&Cgroup::open(&self.cgroup).unwrap(), options, Config::default()).unwrap()
    }

    /// Starts a program in a pod.
    pub(crate) fn start(&self, mut command: Command, pod: &NetNs, id: u32, name: &str) -> Daemon {
        let log = self.folder.join(format!("{name}.log"));
        let procs = File::options().write(true).open(self.cgroup.join("cgroup.procs")).unwrap();
        let netns = pod.as_fd().try_clone_to_owned().unwrap();
        let output = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let prepare = move || -> io::Result<()> {
            write(&procs, b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            setgroups(&[])?;
            setresgid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id))?;
            setresuid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id))?;
            // After the change of user, which clears it.
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        };
        // SAFETY: between fork and exec the closure makes only system calls on descriptors it owns.
        unsafe { command.pre_exec(prepare) };
        Daemon { child: command.spawn().unwrap(), log }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.processes.clear();
        if std::thread::panicking() {
            for name in ["client-envoy", "server-envoy", "nginx"] {
                let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                eprintln!("{name} said: {}", log.get(..log.len().min(4000)).unwrap_or(&log));
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
        // A process that has just been killed and waited for is gone from the cgroup; a child of it may take longer.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("the cgroup {} has stayed behind", self.cgroup.display());
    }
}

/// A program that runs until it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Waits until somebody in the pod listens on a port. It looks and does not connect: a sidecar that is called by its
    /// own address calls itself, for ever.
    pub(crate) fn wait_for(&mut self, pod: &NetNs, port: u16) {
        // Columns of /proc/net/tcp: number, local address, remote address, state; 0A is TCP_LISTEN.
        let listens = || {
            let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let port = format!(":{port:04X}");
            table.lines().any(|line| {
                let mut columns = line.split_ascii_whitespace().skip(1);
                columns.next().is_some_and(|local| local.ends_with(&port)) && columns.nth(1) == Some("0A")
            })
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !pod.run(listens).unwrap() {
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert_eq!(self.child.try_wait().unwrap(), None, "it has ended: {}", log());
            assert!(Instant::now() < deadline, "nobody listens on port {port}: {}", log());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM first: nginx's master takes its workers along. Both have seconds to end, then SIGKILL.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
        for _ in 0..150 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
