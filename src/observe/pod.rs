//! The pod of a process, by the path of its cgroup.
//!
//! The kubelet names the cgroup of a pod by the pod's UID (`crate::pods`, which finds cgroups by UIDs; here it is the other way
//! around). A container that may make cgroups of its own can only make them below that one, so the outermost name counts.

use std::collections::HashMap;

/// The names of pods, by their UIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNames(HashMap<String, String>);

/// A pod, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodOf {
    /// The UID that its cgroup bears.
    pub uid: String,
    /// Namespace and name, as `namespace/name`; nothing when the container runtime was not asked, or does not list it.
    pub name: Option<String>,
}

impl PodNames {
    /// Of pairs of a UID and a name.
    pub fn new(pods: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pods.into_iter().map(|(uid, name)| (plain(&uid), name)).collect())
    }

    /// Whether there is a pod of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.0.values().any(|one| one == name)
    }

    /// The pod whose cgroup this is, or is inside.
    pub fn find(&self, cgroup: &str) -> Option<PodOf> {
        let bear = || cgroup.split('/').filter_map(borne);
        // A UID that the runtime lists may have any form; another one has that of Kubernetes.
        let listed =
            bear().find_map(|uid| self.0.get(&uid).map(|name| PodOf { uid: uid.clone(), name: Some(name.clone()) }));
        listed.or_else(|| bear().find(|uid| is_usual(uid)).map(|uid| PodOf { uid, name: None }))
    }
}

/// The UID in the name of a pod's cgroup: `podUID`, or `kubepods-burstable-podUID.slice` with underscores for dashes.
fn borne(name: &str) -> Option<String> {
    let slice = name.strip_suffix(".slice").and_then(|stem| stem.rsplit_once("-pod")).map(|(_, uid)| uid);
    slice.or_else(|| name.strip_suffix(".slice").unwrap_or(name).strip_prefix("pod")).map(plain)
}

/// As Kubernetes writes it.
fn plain(uid: &str) -> String {
    uid.replace('_', "-")
}

/// Whether it is a UUID (RFC 9562), or the 32 digits of a pod that the kubelet makes from a file.
fn is_usual(uid: &str) -> bool {
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes: Vec<usize> = uid.match_indices('-').map(|(at, _)| at).collect();
    digits == 32 && uid.len() == 32 + dashes.len() && (dashes.is_empty() || dashes == [8, 13, 18, 23])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0f1d2e3c-aaaa-bbbb-cccc-0123456789ab";
    const OTHER: &str = "ffffffff-aaaa-bbbb-cccc-0123456789ab";

    #[test]
    fn the_cgroup_of_a_pod_bears_its_uid_with_both_drivers() {
        let names = PodNames::new([(UID.into(), "shop/web".into()), ("odd uid".into(), "shop/odd".into())]);
        let under = UID.replace('-', "_");
        for path in [
            format!("/kubepods/burstable/pod{UID}/0123abc"),
            format!("/kubepods/pod{UID}"),
            format!("/kubepods.slice/kubepods-pod{under}.slice/cri-containerd-0123.scope"),
            format!("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice"),
            // As a container sees it in a cgroup namespace of its own.
            format!("/../../pod{UID}/0123"),
            // What a container has made inside its own cgroup.
            format!("/kubepods/pod{UID}/0123/pod{OTHER}"),
        ] {
            let found = PodOf { uid: UID.into(), name: Some("shop/web".into()) };
            assert_eq!(names.find(&path), Some(found), "{path}");
            assert_eq!(PodNames::default().find(&path), Some(PodOf { uid: UID.into(), name: None }), "{path}");
        }
        assert_eq!(names.find("/kubepods/pododd uid/x").unwrap().name.as_deref(), Some("shop/odd"));
        assert!(names.holds("shop/web") && !names.holds("web"));
    }

    #[test]
    fn other_cgroups_are_of_no_pod() {
        let of_file = "0123456789abcdef0123456789abcdef";
        assert_eq!(PodNames::default().find(&format!("/kubepods/pod{of_file}/x")).unwrap().uid, of_file);
        for path in [
            "",
            "/",
            "/system.slice/podman.service",
            "/user.slice/pod",
            "/kubepods/besteffort",
            "/x/pod0f1d2e3c-aaaa-bbbb-cccc-0123456789a",
            "/x/pod0f1d2e3caaaa-bbbb-cccc-0123-456789ab",
            "/x/notpod0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(PodNames::default().find(path), None, "{path}");
        }
    }
}
