//! A pod of a test: its sandbox, and its cgroup, in which connections of this process count as the pod's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sidestep::pods::ANNOTATION;

use crate::crio::Node;
use crate::messages::{
    LinuxPodSandboxConfig, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest, SecurityContext,
};
use crate::runtime::Runtime;
use crate::support::cgroup::{enter, root};

/// A pod, which has a sandbox or not. Its cgroup goes with runtime.
pub(crate) struct TestPod {
    name: String,
    uid: String,
    annotation: Option<&'static str>,
    attempt: u32,
    /// Below the mounts of all hierarchies.
    place: PathBuf,
    sandbox: Option<String>,
}

/// Where a kubelet may put a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Driver {
    Cgroupfs,
    Systemd,
    /// A place of which only the runtime knows.
    Elsewhere,
}

impl Driver {
    /// CRI-O takes only places in the form of its own driver.
    fn place(self, uid: &str, node: Option<Node>) -> PathBuf {
        let under = uid.replace('-', "_");
        PathBuf::from(match (self, node) {
            (Self::Elsewhere, Some(Node::Systemd)) => {
                format!("sidestep.slice/sidestep-kubepods.slice/sidestep-kubepods-pod{under}.slice")
            }
            (Self::Elsewhere, _) => format!("sidestep-kubelet/kubepods/pod{uid}"),
            (_, Some(Node::Systemd)) | (Self::Systemd, None) => {
                format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice")
            }
            (_, Some(Node::Cgroupfs)) | (Self::Cgroupfs, None) => format!("kubepods/burstable/pod{uid}"),
        })
    }
}

impl TestPod {
    /// Without a sandbox; its cgroup is there, as the kubelet makes it first.
    pub(crate) fn new(runtime: &mut Runtime, name: &str, driver: Driver, annotation: Option<&'static str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let uid = format!("{:08x}-5170-4000-8000-{:012x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = driver.place(&uid, runtime.crio());
        let pod = Self { name: name.into(), uid, annotation, attempt: 0, place, sandbox: None };
        runtime.removes_at_the_end(&pod.place);
        std::fs::create_dir_all(pod.work()).unwrap();
        pod
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> PathBuf {
        root().join(&self.place)
    }

    /// The cgroup in it that may have processes.
    pub(crate) fn work(&self) -> PathBuf {
        self.cgroup().join("work")
    }

    /// Its name, and Kubernetes' number of it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// Sockets made from now on are the pod's.
    pub(crate) fn enter(&self) {
        enter(&self.work());
    }

    /// Runs its sandbox.
    pub(crate) fn start(&mut self, runtime: &mut Runtime) {
        let metadata = PodSandboxMetadata {
            name: self.name.clone(),
            uid: self.uid.clone(),
            namespace: "shop".into(),
            attempt: self.attempt,
        };
        // `CONTAINER` is 1, what a kubelet asks for unless the pod shares its processes. With `POD`, 0, CRI-O keeps a process.
        let pid = i32::from(runtime.crio() == Some(Node::Systemd));
        let linux = LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}", self.place.display()),
            security_context: Some(SecurityContext { namespace_options: Some(NamespaceOption { network: 2, pid }) }),
        };
        let annotation = self.annotation.map(|value| (ANNOTATION.to_owned(), value.to_owned()));
        let config = PodSandboxConfig {
            metadata: Some(metadata),
            labels: BTreeMap::from([("app".into(), self.name.clone())]),
            annotations: annotation.into_iter().collect(),
            linux: Some(linux),
        };
        self.sandbox = Some(runtime.run(&RunPodSandboxRequest { config: Some(config) }));
        self.attempt += 1;
    }

    /// Ends its sandbox.
    pub(crate) fn stop(&mut self, runtime: &mut Runtime) {
        runtime.remove(&self.sandbox.take().expect("it has no sandbox"));
    }

    /// Runs another sandbox in the place of its own, with this annotation.
    pub(crate) fn recreate(&mut self, runtime: &mut Runtime, annotation: Option<&'static str>) {
        self.stop(runtime);
        self.annotation = annotation;
        self.start(runtime);
    }
}
