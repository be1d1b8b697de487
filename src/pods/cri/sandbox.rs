//! A pod sandbox: what holds the containers of a pod.

use std::collections::BTreeMap;

use super::messages::PodSandbox;

/// `SANDBOX_READY` of `PodSandboxState`.
const READY: i32 = 0;

/// A pod sandbox, as the runtime lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sandbox {
    /// The runtime's name of it.
    pub id: String,
    /// The pod's UID.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// When it was made, in nanoseconds.
    pub created_at: i64,
    /// Whether it runs.
    pub is_ready: bool,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl From<PodSandbox> for Sandbox {
    fn from(sandbox: PodSandbox) -> Self {
        let PodSandbox { id, metadata, state, created_at, labels, annotations } = sandbox;
        let metadata = metadata.unwrap_or_default();
        Self {
            id,
            uid: metadata.uid,
            namespace: metadata.namespace,
            name: metadata.name,
            attempt: metadata.attempt,
            created_at,
            is_ready: state == READY,
            labels,
            annotations,
        }
    }
}
