//! The flag that names the container runtime, and the names of pods that it is asked for.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::streams::note;
use crate::observe::PodNames;
use crate::pods::{Pod, Watch, find_socket, running};

/// What the flag said.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct CriArgs {
    /// The CRI socket of the container runtime, which is asked for the names of pods [default: that of containerd, CRI-O,
    /// cri-dockerd or k3s, where there is one; without one, pods have their UIDs alone]
    #[arg(long, value_name = "PATH", value_parser = socket)]
    cri: Option<PathBuf>,
}

impl CriArgs {
    /// The names of the pods that run. Where no socket was named, one that is missing is nothing to speak of, and one that does
    /// not answer is a line on standard error.
    pub(super) fn names(&self) -> Result<PodNames, Error> {
        let Some(socket) = self.find() else { return Ok(PodNames::default()) };
        match running(&socket) {
            Ok(pods) => Ok(names(&pods)),
            Err(error) if self.cri.is_some() => Err(error.into()),
            Err(error) => {
                note(format_args!("sidestep: pods have their UIDs alone: {error}"));
                Ok(PodNames::default())
            }
        }
    }

    /// Goes on asking, where there is a socket.
    pub(super) fn watch(&self) -> Result<Option<Watch>, Error> {
        Ok(self.find().map(Watch::start).transpose()?)
    }

    fn find(&self) -> Option<PathBuf> {
        self.cri.clone().or_else(|| find_socket().ok())
    }
}

/// The names of these pods.
pub(super) fn names(pods: &[Pod]) -> PodNames {
    PodNames::new(pods.iter().map(|pod| (pod.uid.clone(), pod.to_string())))
}

/// A path, or the URL of one, as crictl and the kubelet take it.
pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
    if !path.is_absolute() {
        return Err(format!("{text:?} is not an absolute path, such as /run/containerd/containerd.sock"));
    }
    Ok(path.to_owned())
}

/// Namespace and name of a pod, or its UID.
pub(super) fn pod(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(format!("{text:?} is not NAMESPACE/NAME, such as shop/web-0, and not the UID of a pod"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_its_url() {
        assert_eq!(socket("/run/a.sock"), Ok("/run/a.sock".into()));
        assert_eq!(socket("unix:///run/a.sock"), Ok("/run/a.sock".into()));
        for text in ["", "a.sock", "tcp://1.2.3.4", "unix://a"] {
            assert!(socket(text).unwrap_err().contains("absolute path"), "{text}");
        }
    }

    #[test]
    fn a_pod_is_named_with_its_namespace_or_by_its_uid() {
        assert!(pod("shop/web-0").is_ok() && pod("0f1d2e3c-aaaa-bbbb-cccc-0123456789ab").is_ok());
        for text in ["", "/", "shop/", "/web", "a/b/c"] {
            assert!(pod(text).unwrap_err().contains("NAMESPACE/NAME"), "{text}");
        }
    }
}
