//! containerd, as Debian's packages and fetch-containerd have it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pause;
use crate::support::machine::is_guest;

/// Writes what it needs below `dir`; how to start it.
pub(crate) fn prepare(dir: &Path) -> Command {
    fs::create_dir_all(dir.join("cni")).unwrap();
    let path = dir.join("config.toml");
    fs::write(&path, config(dir)).unwrap();
    let mut command = Command::new("containerd");
    command.arg("--config").arg(path);
    command
}

/// Gives it the image, once it runs.
pub(crate) fn import(dir: &Path, socket: &Path) {
    let archive = pause::write(dir);
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import", "--no-unpack"]);
    // The CRI plug-in learns of an image by an event.
    pause::output(ctr.arg(archive));
}

/// Whether these are the words of a shim that it has started: each names its socket.
pub(crate) fn is_helper(words: &[&[u8]], socket: &Path) -> bool {
    words.first().is_some_and(|program| program.ends_with(b"/containerd-shim-runc-v2"))
        && words.contains(&socket.as_os_str().as_encoded_bytes())
}

/// For containerd 1.6, which Debian 12 has, and later ones.
fn config(dir: &Path) -> String {
    let dir = dir.display();
    // pivot_root(2) does not leave an initramfs.
    let is_initramfs = is_guest();
    let name = pause::NAME;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{dir}/cri.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{name}"
disable_apparmor = true
enable_selinux = false
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
NoPivotRoot = {is_initramfs}
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{dir}/cni"
bin_dir = "{dir}/cni"
"#
    )
}
