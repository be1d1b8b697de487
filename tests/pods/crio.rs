//! CRI-O with a configuration of its own. It needs `crio`, `pinns`, conmon, runc and skopeo on the search path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::pause;
use crate::support::machine::is_guest;

/// What differs between nodes that have CRI-O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// The cgroup driver `cgroupfs`, with events, and with a process for each sandbox.
    Cgroupfs,
    /// As CRI-O is by default: the driver `systemd`, and no events. A sandbox that does not share its processes has none of its own.
    Systemd,
}

/// Writes what it needs below `dir`, with the image; how to start it.
pub(crate) fn prepare(dir: &Path, node: Node) -> Command {
    for part in ["etc", "cni", "hooks", "cdi", "ns", "exits", "attach"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let (path, policy) = (dir.join("crio.conf"), dir.join("policy.json"));
    fs::write(&path, config(dir, node)).unwrap();
    fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let store = format!("[vfs@{0}/root+{0}/runroot]", dir.display());
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--policy").arg(policy).args(["copy", "--quiet"]);
    skopeo.arg(format!("docker-archive:{}", pause::write(dir).display()));
    pause::output(skopeo.arg(format!("containers-storage:{store}{}", pause::NAME)));
    write_runc(dir);
    let mut command = Command::new("crio");
    command.arg("--config").arg(path).arg("--config-dir").arg(dir.join("etc"));
    command
}

/// A runc that does not lower OOM scores. CRI-O always asks for it, and it takes CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
fn write_runc(dir: &Path) {
    let path = dir.join("runc-unscored");
    let text = r#"#!/bin/sh
for word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
[ -z "$bundle" ] || sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj": 0/' "$bundle/config.json"
exec runc "$@"
"#;
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether these are the words of a conmon that it has started: each names a directory below `dir`.
pub(crate) fn is_helper(words: &[&[u8]], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_encoded_bytes();
    words.first().is_some_and(|program| program.ends_with(b"conmon")) && words.iter().any(|word| word.starts_with(dir))
}

/// Every place that it would share with a CRI-O of the machine is named (crio.conf(5)).
fn config(dir: &Path, node: Node) -> String {
    let dir = dir.display();
    let (manager, events) = match node {
        Node::Cgroupfs => ("cgroupfs", true),
        Node::Systemd => ("systemd", false),
    };
    // pivot_root(2) does not leave an initramfs.
    let is_initramfs = is_guest();
    let name = pause::NAME;
    format!(
        r#"[crio]
root = "{dir}/root"
runroot = "{dir}/runroot"
storage_driver = "vfs"
storage_option = []
log_dir = "{dir}/pods"
version_file = "{dir}/version"
version_file_persist = "{dir}/version-persist"
clean_shutdown_file = "{dir}/clean"
internal_wipe = false
[crio.api]
listen = "{dir}/cri.sock"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
cgroup_manager = "{manager}"
conmon_cgroup = "pod"
enable_pod_events = {events}
no_pivot = {is_initramfs}
apparmor_profile = "unconfined"
seccomp_profile = "unconfined"
selinux = false
irqbalance_config_restore_file = "disable"
container_exits_dir = "{dir}/exits"
container_attach_socket_dir = "{dir}/attach"
namespaces_dir = "{dir}/ns"
hooks_dir = ["{dir}/hooks"]
cdi_spec_dirs = ["{dir}/cdi"]
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "{dir}/runc-unscored"
runtime_root = "{dir}/runc"
[crio.image]
pause_image = "{name}"
pause_command = ""
signature_policy = "{dir}/policy.json"
signature_policy_dir = "{dir}/policies"
[crio.network]
network_dir = "{dir}/cni"
plugin_dirs = ["{dir}/cni"]
[crio.nri]
enable_nri = false
"#
    )
}
