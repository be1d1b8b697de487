//! What a user does with pods, from the installation to the removal, while the connections of two pods carry data all the time: pod A
//! has opted in, and pod B has opted out.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sidestep::agent::lifecycle::{Pins, Status};
use sidestep::testbed::{Addresses, NetNs, Pods, listen};

use crate::container::{Container, is_possible};
use crate::node::Node;
use crate::objects::{Ids, all_gone, objects};
use crate::runtime::Runtime;
use crate::sandbox::{Driver, TestPod};
use crate::streams::{Probe, Streams, listener};
use crate::support::cgroup::{Home, root};
use crate::support::feature::Feature;
use crate::support::link::ANY_PORT;
use crate::support::machine::Turn;
use crate::support::wait::{wait_for, wait_until};

const MIB: u64 = 1 << 20;

/// The node, its two pods, and what was seen of the agents on it.
pub(crate) struct Walk {
    // Dropped in this order: the process leaves before groups go.
    home: Home,
    node: Node,
    pods: [TestPod; 2],
    anchor: Anchor,
    networks: Pods,
    runtime: Runtime,
    seen: Ids,
    namespaces: BTreeSet<PathBuf>,
    _turn: Turn,
}

/// The cgroup that the kubelet makes for the hostPath volume, and that stays there, empty, when the chart is gone.
struct Anchor(PathBuf);

impl Drop for Anchor {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

impl Walk {
    pub(crate) fn new() -> Self {
        let (turn, home) = (Turn::take(), Home::new());
        let (node, mut runtime) = (Node::new(), Runtime::start());
        let a = TestPod::new(&mut runtime, "a", Driver::Systemd, Some("true"));
        let b = TestPod::new(&mut runtime, "b", Driver::Cgroupfs, Some("false"));
        let mut pods = [a, b];
        pods.iter_mut().for_each(|pod| pod.start(&mut runtime));
        let anchor = Anchor(root().join("sidestep-pods"));
        std::fs::create_dir_all(&anchor.0).unwrap();
        let networks = Pods::without_sidecars().unwrap();
        let (seen, namespaces) = (Ids::new(), BTreeSet::new());
        Self { home, node, pods, anchor, networks, runtime, seen, namespaces, _turn: turn }
    }

    /// Pod A, which is accelerated.
    pub(crate) fn pod_a(&self) -> &TestPod {
        &self.pods[0]
    }

    /// How many sockets are in the sockhash.
    pub(crate) fn members(&self) -> usize {
        let pins = Pins::find(Some(self.node.bpffs()), false).unwrap();
        let instances = Status::read(Some(&pins)).unwrap().instances;
        instances.iter().flat_map(|instance| &instance.generations).map(|generation| generation.members).sum()
    }

    /// Does something as a program in a pod would: sockets that are made are of its cgroup and its network.
    fn inside<T>(&self, pod: usize, work: impl FnOnce() -> T) -> T {
        self.pods[pod].enter();
        let done = self.network(pod).run(work).unwrap();
        self.home.enter();
        done
    }

    fn network(&self, pod: usize) -> &NetNs {
        [&self.networks.client, &self.networks.server][pod]
    }

    /// The chart's values, with `keep`.
    fn values(&self, keep: bool) -> Value {
        let socket = self.runtime.socket();
        let mut host = self.node.directories();
        host["cri"] = json!(socket.parent().unwrap());
        let settings =
            json!({"cgroup": [], "pods": "all", "cri": socket, "keep": keep, "interval": 1, "trust": ["all"]});
        json!({"settings": settings, "host": host})
    }

    /// Installs the chart, or another version of it, and waits until pod A alone is in the data plane.
    pub(crate) fn install(&mut self, keep: bool) -> Option<Container> {
        let container = self.node.install(&self.values(keep))?;
        self.namespaces.extend(container.namespaces());
        self.is_followed();
        Some(container)
    }

    /// The agent has pod A in the data plane, and nothing else.
    fn is_followed(&mut self) {
        let wanted = [&self.pods[0].cgroup(), &self.anchor.0].map(|path| path.metadata().unwrap().ino());
        let pins = Pins::find(Some(self.node.bpffs()), false).unwrap();
        let ids = wait_for(|| {
            let status = Status::read(Some(&pins)).unwrap();
            let [instance] = &status.instances[..] else { return Err(format!("{status:?}")) };
            let attached: BTreeSet<u64> = instance.cgroups.iter().map(|cgroup| cgroup.id).collect();
            let is_right = attached == BTreeSet::from(wanted);
            if is_right { Ok(objects(instance)) } else { Err(format!("{attached:?} are attached, and not {wanted:?}")) }
        });
        self.seen.extend(ids);
    }

    /// Changes the settings of a running agent: another line, and `sidestep reload`.
    #[track_caller]
    fn change(&mut self, container: &Container, line: &str) {
        let settings = self.node.settings();
        let text = std::fs::read_to_string(&settings).unwrap();
        std::fs::write(&settings, format!("{line}\n{text}")).unwrap();
        let answer = container.exec(&["/sidestep", "reload"]);
        assert!(answer.status.success(), "{line}: {answer:?}");
        self.is_followed();
    }

    /// After the removal nothing is left but the empty cgroup.
    pub(crate) fn leaves_nothing(self) {
        assert_eq!(self.node.pinned(), [""; 0], "pins are left");
        all_gone(&self.seen);
        let processes = std::fs::read_to_string(self.anchor.0.join("cgroup.procs")).unwrap();
        assert_eq!(processes, "", "a process is in the empty cgroup");
        let is_left = |path: &Path| self.namespaces.contains(path);
        for process in std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
            for link in std::fs::read_dir(process.join("ns")).into_iter().flatten().flatten() {
                let here = std::fs::read_link(link.path()).is_ok_and(|target| is_left(&target));
                assert!(!here, "{} is in a namespace of the agent's", process.display());
            }
        }
        let anchor = self.anchor.0.clone();
        drop(self);
        assert!(!anchor.exists(), "it cannot be removed");
    }
}

/// Connections inside pod A, from A to B, and inside pod B.
struct Three<T>([T; 3]);

impl<T> Three<T> {
    /// Each with a listener of the pod in which its server is.
    fn make(walk: &Walk, one: impl Fn(&TcpListener) -> T) -> Self {
        let local = |pod| walk.inside(pod, || one(&listener()));
        let address = (Addresses::V4.server_pod, 0).into();
        let of_b = walk.inside(1, || listen(address).unwrap());
        Self([local(0), walk.inside(0, || one(&of_b)), local(1)])
    }
}

impl Three<Streams> {
    fn carry(&self) {
        self.0.iter().for_each(|streams| streams.carry(MIB));
    }
}

impl Three<Probe> {
    /// Only those inside pod A skip the stack.
    #[track_caller]
    fn only_pod_a(&self) {
        assert_eq!(self.0.each_ref().map(Probe::is_redirected), [true, false, false]);
    }
}

#[test]
fn two_pods_from_the_installation_to_the_removal_under_load() {
    if !is_possible() {
        return;
    }
    let mut walk = Walk::new();
    let streams = Three::make(&walk, |listener| Streams::start_on(listener, 4));
    let early = Three::make(&walk, Probe::on);
    let Some(container) = walk.install(true) else { return };
    if Feature::Adoption.required("adoption of the connections of pods") {
        wait_until("the connection that was there before is adopted", || early.0[0].is_redirected());
        early.only_pod_a();
    }
    let probes = Three::make(&walk, Probe::on);
    probes.only_pod_a();
    streams.carry();

    // Another policy: one port is excluded, and then a pod without an annotation would be accelerated.
    let excluded = walk.inside(0, || listen(ANY_PORT).unwrap());
    let leaves = walk.inside(0, || Probe::on(&excluded));
    assert!(leaves.is_redirected());
    walk.change(&container, &format!("exclude-port = {}", excluded.local_addr().unwrap().port()));
    walk.change(&container, "pods-default = \"on\"");
    assert!(!leaves.is_redirected() && !walk.inside(0, || Probe::on(&excluded)).is_redirected());
    probes.only_pod_a();
    streams.carry();

    // Killed; then another one takes over, with the settings of the installation.
    container.kill();
    probes.only_pod_a();
    streams.carry();
    let container = walk.install(true).unwrap();
    assert!(container.said().contains("taking over"), "{}", container.said());
    assert!(walk.inside(0, || Probe::on(&excluded)).is_redirected());
    streams.carry();

    // An upgrade, after which the chart can be uninstalled: the old pod goes before the new one comes.
    container.stop();
    probes.only_pod_a();
    streams.carry();
    let container = walk.install(false).unwrap();
    probes.only_pod_a();
    streams.carry();

    let said = container.stop();
    assert!(said.out.contains("detached; nothing is left"), "{}", said.out);
    assert!(said.counter("redirected_messages") > 1000, "{}", said.out);
    for connections in [&early, &probes] {
        assert_eq!(connections.0.each_ref().map(Probe::is_redirected), [false; 3]);
    }
    streams.carry();
    streams.0.into_iter().for_each(Streams::finish);
    walk.leaves_nothing();
}
