//! The chart on a node where it accelerates one cgroup.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
use sidestep::testbed::listen;

use crate::container::{Container, is_possible};
use crate::node::Node;
use crate::support::cgroup::root;
use crate::support::link::{ANY_PORT, exchange_patterns, pair};
use crate::support::nested::NestedCgroups;

/// The user in the documentation's example, `nobody` of Debian.
const OTHER: u32 = 65_534;

/// The node, and the cgroup with the connections of a test.
struct Installed {
    // The pins go before the cgroup to which they belong.
    node: Node,
    cgroups: NestedCgroups,
}

impl Installed {
    fn new() -> Self {
        // First, since the tools that make the image must not run in another test's cgroup.
        let cgroups = NestedCgroups::new();
        Self { node: Node::new(), cgroups }
    }

    /// The chart's values for this node, with `settings`.
    fn values(&self, mut settings: Value) -> Value {
        let (path, root) = (self.cgroups.path(), root());
        let group = path.strip_prefix(&root).unwrap();
        settings["cgroup"] = json!([format!("/host/cgroup/{}", group.display())]);
        // Its counters say at the end what it did.
        settings["interval"] = json!(1);
        settings["trust"] = json!(["all"]);
        json!({"settings": settings, "host": self.node.directories()})
    }

    /// Installs the chart; `None` where that is not possible.
    #[track_caller]
    fn install(&self, settings: Value) -> Option<Container> {
        self.install_with(settings, json!({}))
    }

    /// The same with `more` values.
    #[track_caller]
    fn install_with(&self, settings: Value, more: Value) -> Option<Container> {
        let mut values = self.values(settings);
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Beside the pods' cgroup.
        self.cgroups.leave();
        let container = self.node.install(&values);
        self.cgroups.enter();
        container
    }
}

#[test]
fn the_charts_container_accelerates_and_leaves_nothing() {
    if !is_possible() {
        return;
    }
    let installed = Installed::new();
    let Some(container) = installed.install(json!({})) else { return };
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(container.probe(9847, path), "200", "{path}");
    }
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    exchange_patterns(&client, &server, 1_000, 100);
    assert_eq!(installed.node.pinned().len(), 1);
    let said = container.stop();
    assert!(said.counter("redirected_messages") >= 190, "{said:?}");
    exchange_patterns(&client, &server, 1_000, 10);
    assert_eq!(installed.node.pinned(), [""; 0], "left behind");
}

#[test]
fn the_charts_container_becomes_another_user_and_root_follows_it() {
    if !is_possible() {
        return;
    }
    let installed = Installed::new();
    let state = || std::fs::metadata(installed.node.state()).unwrap().uid();
    let Some(container) = installed.install(json!({"user": OTHER, "keep": true})) else { return };
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.id())).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(user.split_whitespace().all(|id| id == OTHER.to_string()), "{status}");
    assert_eq!(state(), OTHER);
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    exchange_patterns(&client, &server, 1_000, 100);
    container.stop();
    // The first release without the setting.
    let container = installed.install_with(json!({}), json!({"formerUser": true})).unwrap();
    assert_eq!(state(), 0);
    exchange_patterns(&client, &server, 1_000, 100);
    let said = container.stop();
    assert!(said.counter("redirected_messages") >= 380, "{said:?}");
    assert_eq!(installed.node.pinned(), [""; 0], "left behind");
}

#[test]
fn an_upgrade_and_a_crash_leave_no_gap() {
    if !is_possible() {
        return;
    }
    let installed = Installed::new();
    let Some(container) = installed.install(json!({"keep": true})) else { return };
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    exchange_patterns(&client, &server, 1_000, 100);
    // The rollout: the old pod goes before the new one comes.
    container.stop();
    exchange_patterns(&client, &server, 1_000, 100);
    let container = installed.install(json!({"keep": true})).unwrap();
    exchange_patterns(&client, &server, 1_000, 100);
    container.kill();
    exchange_patterns(&client, &server, 1_000, 100);
    let container = installed.install(json!({})).unwrap();
    exchange_patterns(&client, &server, 1_000, 100);
    let said = container.stop();
    // The counters are in a map that all of them had: 1,000 messages, without those before the pair was known.
    assert!(said.counter("redirected_messages") >= 990, "{said:?}");
    assert_eq!(installed.node.pinned(), [""; 0], "left behind");
}
