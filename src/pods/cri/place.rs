//! Where a runtime says that it has put a pod: in the JSON text `info` of a verbose status, which has the runtime's own form.

use std::collections::BTreeMap;

use serde_json::Value;

/// The parent of the cgroups of a pod's containers. containerd shows the configuration that it was given, CRI-O the
/// specification of the sandbox's own container.
pub(super) fn cgroup_parent(info: &BTreeMap<String, String>) -> Option<String> {
    let info: Value = serde_json::from_str(info.get("info")?).ok()?;
    let given = info.pointer("/config/linux/cgroup_parent").and_then(Value::as_str).filter(|parent| !parent.is_empty());
    let given = given.map(str::to_owned);
    given.or_else(|| above(info.pointer("/runtimeSpec/linux/cgroupsPath")?.as_str()?))
}

/// What is above a container's cgroup: `SLICE:PREFIX:NAME` with systemd (runc's documentation, "systemd cgroup driver"),
/// otherwise a path.
fn above(path: &str) -> Option<String> {
    match path.split_once(':') {
        Some((slice, _)) => Some(slice.to_owned()),
        None => path.rsplit_once('/').map(|(parent, _)| parent.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_and_crio_are_understood_and_other_text_is_not() {
        let parent = |info: &str| cgroup_parent(&BTreeMap::from([("info".into(), info.into())]));
        let containerd = r#"{"pid":1,"config":{"linux":{"cgroup_parent":"/kubelet/kubepods/podx"}}}"#;
        assert_eq!(parent(containerd).as_deref(), Some("/kubelet/kubepods/podx"));
        // Of CRI-O 1.36: a sandbox with a process, and one without.
        let cgroupfs = r#"{"image":"localhost/sidestep-pause:1","pid":3526,"runtimeSpec":{"ociVersion":"1.3.0","linux":{
            "cgroupsPath":"/kubelet/kubepods/burstable/podx/crio-f4cdecf7","namespaces":[{"type":"pid"}]}}}"#;
        assert_eq!(parent(cgroupfs).as_deref(), Some("/kubelet/kubepods/burstable/podx"));
        let systemd = r#"{"runtimeSpec":{"ociVersion":"1.3.0","linux":{"cgroupsPath":"kubelet-kubepods-podx.slice:crio:760161d6"}}}"#;
        assert_eq!(parent(systemd).as_deref(), Some("kubelet-kubepods-podx.slice"));
        let deep = "[".repeat(100_000);
        for text in ["", "{}", "null", "[1]", "{\"config\":{\"linux\":{\"cgroup_parent\":5}}}", "{", deep.as_str()] {
            assert_eq!(parent(text), None);
        }
        assert_eq!(cgroup_parent(&BTreeMap::new()), None);
    }
}
