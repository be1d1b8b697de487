//! A node on which the chart is installed: the agent runs in the container that the chart describes.

use serde_json::{Value, json};
use sidestep::testbed::listen;

use crate::TemporaryDirectory;
use crate::bundle;
use crate::chart::{objects, one};
use crate::container::{Container, is_possible};
use crate::image::Image;
use crate::support::bpffs::TestBpffs;
use crate::support::cgroup::root;
use crate::support::link::{ANY_PORT, exchange_patterns, pair};
use crate::support::nested::NestedCgroups;

/// The directories of a node, and the image that it has pulled.
struct Node {
    // The pins go before the cgroup to which they belong.
    bpffs: TestBpffs,
    state: TemporaryDirectory,
    config_map: TemporaryDirectory,
    image: Image,
    cgroups: NestedCgroups,
}

impl Node {
    fn new() -> Self {
        // First, since the tools that make the image must not run in another test's cgroup.
        let cgroups = NestedCgroups::new();
        let [state, config_map] = [(); 2].map(|()| TemporaryDirectory::new());
        Self { bpffs: TestBpffs::new(), state, config_map, image: Image::new(), cgroups }
    }

    /// The chart's values for this node, with `settings`.
    fn values(&self, mut settings: Value) -> Value {
        let (path, root) = (self.cgroups.path(), root());
        let group = path.strip_prefix(&root).unwrap();
        settings["cgroup"] = json!([format!("/host/cgroup/{}", group.display())]);
        // Its counters say at the end what it did.
        settings["interval"] = json!(1);
        settings["trust"] = json!(["all"]);
        let host = json!({"cgroup": root, "bpf": self.bpffs.path(), "state": self.state.path()});
        json!({"settings": settings, "host": host})
    }

    /// Installs the chart; `None` where that is not possible.
    #[track_caller]
    fn install(&self, settings: Value) -> Option<Container> {
        let objects = objects(&self.values(settings))?;
        let config = &one(&objects, "ConfigMap")["data"]["config.toml"];
        std::fs::write(self.config_map.path().join("config.toml"), config.as_str().unwrap()).unwrap();
        let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let root = self.image.root();
        // Beside the pods' cgroup.
        self.cgroups.leave();
        let config = bundle::of(pod, self.config_map.path(), &root, &self.image.entrypoint());
        let container = Container::start(&config);
        self.cgroups.enter();
        Some(container)
    }

    /// The names of the instances that are pinned.
    fn pinned(&self) -> Vec<String> {
        let instances = std::fs::read_dir(self.bpffs.path().join("sidestep")).into_iter().flatten();
        instances.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn the_charts_container_accelerates_and_leaves_nothing() {
    if !is_possible() {
        return;
    }
    let node = Node::new();
    let Some(container) = node.install(json!({})) else { return };
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(container.probe(9847, path), "200", "{path}");
    }
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    exchange_patterns(&client, &server, 1_000, 100);
    assert_eq!(node.pinned().len(), 1);
    let said = container.stop();
    assert!(said.counter("redirected_messages") >= 190, "{said:?}");
    exchange_patterns(&client, &server, 1_000, 10);
    assert_eq!(node.pinned(), [""; 0], "left behind");
}

#[test]
fn an_upgrade_and_a_crash_leave_no_gap() {
    if !is_possible() {
        return;
    }
    let node = Node::new();
    let Some(container) = node.install(json!({"keep": true})) else { return };
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    exchange_patterns(&client, &server, 1_000, 100);
    // The rollout: the old pod goes before the new one comes.
    container.stop();
    exchange_patterns(&client, &server, 1_000, 100);
    let container = node.install(json!({"keep": true})).unwrap();
    exchange_patterns(&client, &server, 1_000, 100);
    container.kill();
    exchange_patterns(&client, &server, 1_000, 100);
    let container = node.install(json!({})).unwrap();
    exchange_patterns(&client, &server, 1_000, 100);
    let said = container.stop();
    // The counters are in a map that all of them had: 1,000 messages, without those before the pair was known.
    assert!(said.counter("redirected_messages") >= 990, "{said:?}");
    assert_eq!(node.pinned(), [""; 0], "left behind");
}
