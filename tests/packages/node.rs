//! A node on which the chart is installed: the agent runs in the container that the chart describes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::TemporaryDirectory;
use crate::bundle;
use crate::chart::{objects, one};
use crate::container::Container;
use crate::image::Image;
use crate::support::bpffs::TestBpffs;
use crate::support::cgroup::root;

/// The directories of a node, and the image that it has pulled.
pub(crate) struct Node {
    bpffs: TestBpffs,
    state: TemporaryDirectory,
    config_map: TemporaryDirectory,
    image: Image,
}

impl Node {
    /// The tools that make the image run in the caller's cgroup.
    pub(crate) fn new() -> Self {
        let [state, config_map] = [(); 2].map(|()| TemporaryDirectory::new());
        Self { bpffs: TestBpffs::new(), state, config_map, image: Image::new() }
    }

    /// The directories of this node, for the chart.
    pub(crate) fn directories(&self) -> Value {
        json!({"cgroup": root(), "bpf": self.bpffs.path(), "state": self.state.path()})
    }

    /// Installs the chart with these values, in the caller's cgroup; `None` where that is not possible.
    #[track_caller]
    pub(crate) fn install(&self, values: &Value) -> Option<Container> {
        let objects = objects(values)?;
        let config = &one(&objects, "ConfigMap")["data"]["config.toml"];
        std::fs::write(self.settings(), config.as_str().unwrap()).unwrap();
        let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let config = bundle::of(pod, self.config_map.path(), &self.image.root(), &self.image.entrypoint());
        Some(Container::start(&config))
    }

    /// The file in the ConfigMap.
    pub(crate) fn settings(&self) -> PathBuf {
        self.config_map.path().join("config.toml")
    }

    /// Where the agent remembers which programs splice.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Where pins are.
    pub(crate) fn bpffs(&self) -> &Path {
        self.bpffs.path()
    }

    /// The names of the instances that are pinned.
    pub(crate) fn pinned(&self) -> Vec<String> {
        let instances = std::fs::read_dir(self.bpffs().join("sidestep")).into_iter().flatten();
        instances.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
