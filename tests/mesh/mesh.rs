//! A mesh that `up` brings up, and `down` ends when the value is dropped (or its process ends in whatever way).

use std::fs::File;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use sidestep::agent::{Acceleration, TierChoice, check, choose_tier};
use sidestep::dataplane::{Options, Pairing, Policy, Readers};
use sidestep::syscall::cgroup::{self, Cgroup};
use sidestep::testbed::Addresses;

use crate::load::Protocol;

/// What the sidecars and the app are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Envoys as TCP proxies, nginx as the app.
    Tcp,
    /// Envoys as HTTP proxies.
    Http,
    /// The same with mutual TLS between the Envoys.
    Mtls,
    /// HAProxies as TCP proxies.
    Haproxy,
    /// nginxes as TCP proxies.
    Nginx,
    /// Envoys as TCP proxies, Redis as the app.
    Redis,
}

impl Kind {
    /// What `up` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Mtls => "mtls",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Redis => "redis",
        }
    }

    /// Its sidecars share upstream connections between those of their clients.
    pub(crate) fn pools(self) -> bool {
        matches!(self, Self::Http | Self::Mtls)
    }

    /// What the app speaks.
    pub(crate) fn protocol(self) -> Protocol {
        if self == Self::Redis { Protocol::Redis } else { Protocol::Http }
    }
}

/// Why there is no mesh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program is missing.
    #[error("{0}")]
    Missing(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// The two pods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pod {
    Client,
    Server,
}

impl Pod {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// The directory of the scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh")
}

/// A mesh. This process's clients have to run in [`in_client_pod`](Mesh::in_client_pod).
#[derive(Debug)]
pub(crate) struct Mesh {
    name: String,
    group: PathBuf,
    /// The service's address.
    pub(crate) service: SocketAddr,
    /// A name can be bound once, and the kernel frees it with its holder.
    _turn: UnixListener,
}

impl Mesh {
    /// Brings a mesh up, when it is this process's turn to use the name.
    pub(crate) fn up(name: &str, kind: Kind, flags: &[&str]) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Failed(format!("cannot bring a mesh up: {error}"));
        let turn = wait_for_turn(name).map_err(failed)?;
        let root = cgroup::find().map_err(|error| Error::Failed(error.to_string()))?;
        let root = root.ok_or_else(|| Error::Failed("no cgroup2 is mounted".into()))?;
        let up = Command::new(scripts().join("up"))
            .args(["--name", name, "--while", &std::process::id().to_string(), kind.name()])
            .args(flags)
            .output()
            .map_err(failed)?;
        let said = || String::from_utf8_lossy(&up.stderr).trim().to_owned();
        match up.status.code() {
            Some(0) => {}
            Some(3) => return Err(Error::Missing(said())),
            _ => return Err(Error::Failed(said())),
        }
        let addresses = if flags.contains(&"--ipv6") { &Addresses::V6 } else { &Addresses::V4 };
        let group = root.join(format!("sidestep-mesh-{name}"));
        Ok(Self { name: name.to_owned(), group, service: addresses.service, _turn: turn })
    }

    /// Where its processes keep their files.
    pub(crate) fn directory(&self) -> PathBuf {
        Path::new("/run/sidestep-mesh").join(&self.name)
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.group).unwrap()
    }

    /// CPU time of all its processes so far, microseconds: cgroup_base_stat_cputime_show, kernel/cgroup/rstat.c.
    pub(crate) fn cpu_usec(&self) -> u64 {
        let text = std::fs::read_to_string(self.group.join("cpu.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }

    /// Accelerates the connections that are made in it from now on.
    pub(crate) fn accelerate(&self, pairing: Pairing) -> Acceleration {
        let tier = choose_tier(TierChoice::Auto).unwrap().0;
        let options = Options { pairing, tier, readers: Readers::NonBlocking, policy: Policy::default() };
        Acceleration::start(&self.cgroup(), options, check::configuration().unwrap()).unwrap()
    }

    /// Runs `work` on a thread in the client's pod, with the whole process in the cgroup of the mesh's clients.
    pub(crate) fn in_client_pod<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let _away = Away::to(&self.group.join("client-app"));
        self.in_pod(Pod::Client, work)
    }

    /// Runs `work` on a thread in a pod.
    pub(crate) fn in_pod<T: Send>(&self, pod: Pod, work: impl FnOnce() -> T + Send) -> T {
        let pod = File::open(self.netns(pod)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(pod, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command to be run in a pod, by root.
    pub(crate) fn command(&self, pod: Pod, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns_name(pod), program]);
        command
    }

    fn netns_name(&self, pod: Pod) -> String {
        format!("sidestep-{}-{}", self.name, pod.name())
    }

    fn netns(&self, pod: Pod) -> PathBuf {
        Path::new("/run/netns").join(self.netns_name(pod))
    }

    /// What the sidecars and the app have said.
    pub(crate) fn logs(&self) -> String {
        ["client-sidecar", "server-sidecar", "server-app"]
            .map(|name| {
                let log = std::fs::read_to_string(self.directory().join(format!("{name}.log"))).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(20).collect();
                format!("{name} said: {}\n", end.into_iter().rev().collect::<Vec<_>>().join("\n"))
            })
            .concat()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let down = Command::new(scripts().join("down")).args(["--name", &self.name]).status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("the mesh {} may have stayed behind; end it with tests/mesh/down", self.name);
        }
    }
}

/// The process is in another cgroup for as long as this lives.
struct Away(Cgroup);

impl Away {
    fn to(group: &Path) -> Self {
        let root = cgroup::find().unwrap().unwrap();
        // The line of cgroup2 begins with "0::", cgroups(7).
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let home = Cgroup::open(&root.join(own)).unwrap();
        std::fs::create_dir_all(group).unwrap();
        Cgroup::open(group).unwrap().enter(0).unwrap();
        Self(home)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter(0) {
            eprintln!("this process stays in a mesh's cgroup: {error}");
        }
    }
}

/// Only one process, and one test in it, may use a name at a time: the one that holds what this returns.
pub(crate) fn wait_for_turn(name: &str) -> std::io::Result<UnixListener> {
    let address = UnixAddr::from_abstract_name(format!("sidestep-mesh-{name}"))?;
    loop {
        match UnixListener::bind_addr(&address) {
            // However long the tests before it take: each of them has deadlines of its own.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}
