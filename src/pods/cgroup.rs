//! The cgroup of a pod, in which the cgroups of its containers are.
//!
//! The kubelet names it by the pod's UID and its class of service (pkg/kubelet/cm/pod_container_manager_linux.go in Kubernetes),
//! in the form of its cgroup driver. Where the kubelet was told to put pods elsewhere (`--cgroup-root`), the runtime knows the
//! place. On hybrid hosts the same path is below the mount of cgroup2.

use std::path::{Component, Path, PathBuf};

use super::Pod;
use crate::syscall::cgroup::Cgroup;

/// The classes of service that have a directory of their own; pods with guaranteed resources have none.
const CLASSES: [&str; 3] = ["", "burstable", "besteffort"];

/// Longest UID that is believed. Kubernetes' have 36 characters, those of static pods 32.
const MAX_UID: usize = 64;

/// The cgroup of a pod below one of these mounts of cgroup2; `None` when it has none that bears its UID, which the kernel would
/// then give to others, too.
pub fn find_cgroup(mounts: &[PathBuf], pod: &Pod) -> Option<Cgroup> {
    let places = places(pod);
    let paths = mounts.iter().flat_map(|mount| places.iter().map(move |place| mount.join(place)));
    paths.filter_map(|path| Cgroup::open(&path).ok()).find(Cgroup::exists)
}

/// Where the cgroup of a pod may be, below the mount of cgroup2.
fn places(pod: &Pod) -> Vec<PathBuf> {
    let uid = &pod.uid;
    let is_uid = |uid: &str| {
        (1..=MAX_UID).contains(&uid.len()) && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !is_uid(uid) {
        return Vec::new();
    }
    let parent = pod.cgroup_parent.iter().filter_map(|parent| place(parent)).filter(|place| bears(place, uid));
    CLASSES.iter().flat_map(|class| [cgroupfs(class, uid), systemd(class, uid)]).chain(parent).collect()
}

/// Of the driver `cgroupfs`.
fn cgroupfs(class: &str, uid: &str) -> PathBuf {
    Path::new("kubepods").join(class).join(format!("pod{uid}"))
}

/// Of the driver `systemd`, in whose names a dash means a level.
fn systemd(class: &str, uid: &str) -> PathBuf {
    let uid = uid.replace('-', "_");
    match class {
        "" => slice(&format!("kubepods-pod{uid}.slice")),
        class => slice(&format!("kubepods-{class}-pod{uid}.slice")),
    }
}

/// The path of a slice (systemd.slice(5)): `a-b.slice` is in `a.slice`.
fn slice(name: &str) -> PathBuf {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.filter_map(|end| stem.get(..end)).map(|level| format!("{level}.slice")).collect()
}

/// The place that a parent names: the path of a directory, or a slice.
fn place(parent: &str) -> Option<PathBuf> {
    if parent.ends_with(".slice") && !parent.contains('/') {
        return Some(slice(parent));
    }
    let path = Path::new(parent.trim_start_matches('/'));
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// Whether the directory is that of the pod and of no other.
fn bears(place: &Path, uid: &str) -> bool {
    let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".slice").unwrap_or(&name);
    let own = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    own.iter().any(|own| stem == own || stem.ends_with(&format!("-{own}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0f1d2e3c-aaaa-bbbb-cccc-0123456789ab";

    fn pod(uid: &str, parent: Option<&str>) -> Pod {
        Pod { uid: uid.into(), cgroup_parent: parent.map(str::to_owned), ..Pod::of("shop", "web") }
    }

    #[test]
    fn both_drivers_and_all_classes_are_looked_for() {
        let found: Vec<_> = places(&pod(UID, None)).iter().map(|path| path.display().to_string()).collect();
        let under = "0f1d2e3c_aaaa_bbbb_cccc_0123456789ab";
        let wanted = [
            format!("kubepods/pod{UID}"),
            format!("kubepods.slice/kubepods-pod{under}.slice"),
            format!("kubepods/burstable/pod{UID}"),
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice"),
            format!("kubepods/besteffort/pod{UID}"),
            format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_runtime_may_know_another_place_that_bears_the_uid() {
        let last = |parent: &str| {
            let all = places(&pod(UID, Some(parent)));
            all.get(6).map(|path| path.display().to_string())
        };
        assert_eq!(
            last(&format!("/kubelet/kubepods/burstable/pod{UID}")),
            Some(format!("kubelet/kubepods/burstable/pod{UID}"))
        );
        assert_eq!(
            last("kubelet-kubepods-pod0f1d2e3c_aaaa_bbbb_cccc_0123456789ab.slice").unwrap(),
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0f1d2e3c_aaaa_bbbb_cccc_0123456789ab.slice"
        );
        let shared = ["", "/", "kubepods", "kubepods.slice", "/kubepods/burstable", "system.slice"];
        let foreign = ["/x/pod0f1d2e3c-aaaa-bbbb-cccc-0123456789ac", "/x/notpod0f1d2e3c-aaaa-bbbb-cccc-0123456789ab"];
        for parent in shared.into_iter().chain(foreign) {
            assert_eq!(last(parent), None, "{parent} is not the pod's alone");
        }
        for parent in [format!("/../pod{UID}"), format!("/a/../../pod{UID}")] {
            assert_eq!(last(&parent), None, "{parent} leads out of the hierarchy");
        }
    }

    #[test]
    fn a_uid_that_leads_elsewhere_is_not_looked_for() {
        for uid in ["", "..", "a/b", "../../x", "a b", "ü", &"a".repeat(65), "a\0", "a\n"] {
            assert!(places(&pod(uid, Some(&format!("/x/pod{uid}")))).is_empty(), "{uid:?}");
        }
        assert_eq!(places(&pod("0123456789abcdef0123456789abcdef", None)).len(), 6, "that of a static pod");
    }

    #[test]
    fn what_is_not_there_or_not_a_cgroup_is_not_found() {
        let dir = std::env::temp_dir().join(format!("sidestep-pods-{}", std::process::id()));
        std::fs::create_dir_all(dir.join(format!("kubepods/pod{UID}"))).unwrap();
        let found = find_cgroup(&[dir.clone(), "/no/such/mount".into()], &pod(UID, None));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(found.is_none());
    }
}
