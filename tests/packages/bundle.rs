//! An OCI runtime bundle of a pod's container: what a node's container runtime makes of it (runtime-spec 1.0, config.json).

use std::path::Path;

use serde_json::{Value, json};

/// The bundle's configuration for the first container of a pod. `config_map` is where its ConfigMap is, and `entrypoint` comes from
/// the image.
pub(crate) fn of(pod: &Value, config_map: &Path, root: &Path, entrypoint: &[String]) -> Value {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "a runtime would add its own");
    let added = security["capabilities"]["add"].as_array().unwrap();
    let capabilities: Vec<_> = added.iter().map(|name| format!("CAP_{}", name.as_str().unwrap())).collect();
    let arguments = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
    let mut namespaces = vec!["mount", "ipc", "uts", "network"];
    if pod["hostPID"] != true {
        namespaces.push("pid");
    }
    let namespaces: Vec<_> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": security["runAsUser"], "gid": 0},
            "args": entrypoint.iter().cloned().chain(arguments).collect::<Vec<_>>(),
            "env": ["PATH=/"],
            "cwd": "/",
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": root, "readonly": security["readOnlyRootFilesystem"]},
        "mounts": mounts(pod, config_map),
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": {"memory": {"limit": bytes(&container["resources"]["limits"]["memory"])}},
        },
    })
}

/// What every runtime mounts (runtime-spec 1.0, "Default Filesystems", with the options of containerd's `oci/spec.go`), and the
/// container's volumes.
fn mounts(pod: &Value, config_map: &Path) -> Vec<Value> {
    let own = [
        ("/proc", "proc", &["nosuid", "noexec", "nodev"][..]),
        ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let own =
        own.map(|(path, kind, options)| json!({"destination": path, "type": kind, "source": kind, "options": options}));
    let volumes = pod["volumes"].as_array().unwrap();
    let mounted = pod["containers"][0]["volumeMounts"].as_array().unwrap().iter().map(|mount| {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let source = volume["hostPath"]["path"].as_str().map_or(config_map, Path::new);
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        json!({"destination": mount["mountPath"], "type": "bind", "source": source, "options": ["rbind", mode]})
    });
    own.into_iter().chain(mounted).collect()
}

/// A quantity in Mi, in bytes.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    text.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20
}
