//! All pods of the node, as a list of the runtime's sandboxes shows them.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::time::Duration;

use super::cgroup::find_cgroup;
use super::cri::{Client, Sandbox};
use super::error::Result;
use super::{Error, Pod};
use crate::syscall::cgroup::find_all;

/// The pods that have a running sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// Each once, in the order of their UIDs.
    pub pods: Vec<Pod>,
    /// A sentence for each sandbox that cannot be understood.
    pub complaints: Vec<String>,
}

/// Asks the runtime once.
pub fn read(socket: &Path) -> Result<Listing> {
    let runtime = event_loop()?;
    runtime.block_on(async {
        let client = Client::connect(socket).await?;
        Places::default().list(&client).await
    })
}

/// For a call of [`running`], after which a command goes on without names. A list takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the runtime once for the pods that run, without where their cgroups are.
pub fn running(socket: &Path) -> Result<Vec<Pod>> {
    event_loop()?.block_on(async {
        let client = Client::connect_within(socket, TIMEOUT).await?;
        let (newest, _) = newest(client.sandboxes().await?);
        Ok(newest.into_iter().map(Pod::from).collect())
    })
}

/// Runs the exchange with the runtime in the thread that waits for it.
pub(super) fn event_loop() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Error::System(error.to_string()))
}

/// Where the runtime has put pods that are not where the kubelet puts them by default, by the ID of their sandbox: looked for once,
/// since the kubelet makes the cgroup of a pod before its sandbox.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, Option<String>>);

impl Places {
    /// Asks for all pods.
    pub(super) async fn list(&mut self, client: &Client) -> Result<Listing> {
        let (newest, mut complaints) = newest(client.sandboxes().await?);
        self.0.retain(|id, _| newest.iter().any(|sandbox| sandbox.id == *id));
        // Once for all pods, and only where one is new: a node has thousands of mounts.
        let mounts = LazyCell::new(|| find_all().unwrap_or_default());
        let mut pods = Vec::new();
        for sandbox in newest {
            let place = self.0.entry(sandbox.id.clone());
            let mut pod = Pod::from(sandbox);
            pod.cgroup_parent = match place {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) if find_cgroup(&mounts, &pod).is_some() => place.insert(None).clone(),
                Entry::Vacant(place) => match client.cgroup_parent(place.key()).await {
                    Ok(parent) => place.insert(parent).clone(),
                    // The connection serves no other pod either.
                    Err(error @ (Error::Unreachable { .. } | Error::Late { .. })) => return Err(error),
                    // It may just have gone.
                    Err(error) => {
                        complaints.push(format!("the cgroup of pod {pod} is not known: {error}"));
                        None
                    }
                },
            };
            pods.push(pod);
        }
        Ok(Listing { pods, complaints })
    }
}

/// Of each pod the sandbox that was made last, and what is wrong with others. One that does not run has no connections.
fn newest(sandboxes: Vec<Sandbox>) -> (Vec<Sandbox>, Vec<String>) {
    let mut newest: BTreeMap<String, Sandbox> = BTreeMap::new();
    let mut complaints = Vec::new();
    for sandbox in sandboxes.into_iter().filter(|sandbox| sandbox.is_ready) {
        if sandbox.uid.is_empty() {
            complaints.push(format!("the pod sandbox {:?} has no UID, and stays plain", sandbox.id));
            continue;
        }
        match newest.entry(sandbox.uid.clone()) {
            Entry::Vacant(place) => drop(place.insert(sandbox)),
            Entry::Occupied(mut known) => {
                if (sandbox.created_at, sandbox.attempt) > (known.get().created_at, known.get().attempt) {
                    known.insert(sandbox);
                }
            }
        }
    }
    (newest.into_values().collect(), complaints)
}

impl From<Sandbox> for Pod {
    fn from(sandbox: Sandbox) -> Self {
        let Sandbox { uid, namespace, name, labels, annotations, .. } = sandbox;
        Self { uid, namespace, name, labels, annotations, cgroup_parent: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_its_newest_running_sandbox() {
        let sandbox = |id: &str, uid: &str, created_at, attempt, is_ready| Sandbox {
            id: id.into(),
            uid: uid.into(),
            created_at,
            attempt,
            is_ready,
            ..Sandbox::default()
        };
        let all = vec![
            sandbox("a0", "a", 1, 0, true),
            sandbox("a1", "a", 5, 1, true),
            sandbox("a2", "a", 9, 2, false),
            sandbox("b1", "b", 5, 1, true),
            sandbox("b0", "b", 5, 0, true),
            sandbox("c0", "c", 1, 0, false),
            sandbox("d0", "", 1, 0, true),
        ];
        let (pods, complaints) = newest(all);
        assert_eq!(pods.iter().map(|pod| pod.id.as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
        assert_eq!(complaints, ["the pod sandbox \"d0\" has no UID, and stays plain"]);
    }
}
