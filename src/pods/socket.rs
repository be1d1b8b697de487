//! Where container runtimes have their sockets.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// The sockets that crictl tries (cri-tools, `defaultRuntimeEndpoints`), and that of k3s (its documentation, "Advanced
/// options").
const USUAL: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
];

/// The first of the usual sockets that there is.
pub fn find_socket() -> Result<PathBuf> {
    let is_socket = |path: &Path| path.metadata().is_ok_and(|found| found.file_type().is_socket());
    let found = USUAL.iter().map(Path::new).find(|path| is_socket(path));
    found.map(Path::to_owned).ok_or_else(|| Error::NoSocket(USUAL.join(", ")))
}
