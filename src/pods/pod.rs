//! One pod.

use std::collections::BTreeMap;
use std::fmt;

/// A pod of this node, as the container runtime describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pod {
    /// Kubernetes' number of it.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels, as they were when its sandbox was made.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as they were when its sandbox was made.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup in which the runtime was told to put it; known only where it is not where the kubelet puts it by default.
    pub cgroup_parent: Option<String>,
}

/// Namespace and name. What is not printable is escaped, so that a line of the log stays one.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.escape_debug(), self.name.escape_debug())
    }
}

#[cfg(test)]
impl Pod {
    /// For tests.
    pub(super) fn of(namespace: &str, name: &str) -> Self {
        Self { uid: format!("uid-{name}"), namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    pub(super) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    pub(super) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }
}
