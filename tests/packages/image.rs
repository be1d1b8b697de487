//! The image from scratch.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::machine::Turn;
use crate::{DEPLOY, TemporaryDirectory};

/// Runs deploy/image.
fn write(archive: &Path, binaries: &[&str]) -> Output {
    let mut command = Command::new(format!("{DEPLOY}/image"));
    command.arg(archive).args(binaries).stdin(Stdio::null()).output().unwrap()
}

/// Runs a tool, which must succeed; what it has printed.
#[track_caller]
fn tool(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An image as a container engine has it: unpacked, every digest checked.
pub(crate) struct Image {
    directory: TemporaryDirectory,
    config: Value,
}

impl Image {
    /// The image with the binary of this build.
    pub(crate) fn new() -> Self {
        let directory = TemporaryDirectory::new();
        let layout = unpack(&directory, &[env!("CARGO_BIN_EXE_sidestep")]);
        let config = contents(&layout, &manifests(&layout)[0], &directory.path().join("root"));
        std::fs::remove_dir_all(layout).unwrap();
        Self { directory, config }
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// What it runs.
    pub(crate) fn entrypoint(&self) -> Vec<String> {
        serde_json::from_value(self.config["config"]["Entrypoint"].clone()).unwrap()
    }
}

/// Writes an image with these binaries and unpacks the archive; where its layout is.
#[track_caller]
fn unpack(directory: &TemporaryDirectory, binaries: &[&str]) -> PathBuf {
    let [archive, layout] = ["image.tar", "layout"].map(|name| directory.path().join(name));
    let output = write(&archive, binaries);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::create_dir(&layout).unwrap();
    tool(Command::new("tar").args(["--extract", "--directory"]).arg(&layout).arg("--file").arg(&archive));
    std::fs::remove_file(archive).unwrap();
    layout
}

/// The descriptors of its manifests: from the index of the archive to that of the image.
fn manifests(layout: &Path) -> Vec<Value> {
    let index = json(&layout.join("index.json"));
    let of_image = json(&blob(layout, &index["manifests"][0]));
    of_image["manifests"].as_array().unwrap().clone()
}

/// The configuration of a manifest; unpacks its only layer to `root`.
fn contents(layout: &Path, manifest: &Value, root: &Path) -> Value {
    let manifest = json(&blob(layout, manifest));
    let config = json(&blob(layout, &manifest["config"]));
    let layer = blob(layout, &manifest["layers"][0]);
    std::fs::create_dir(root).unwrap();
    tool(Command::new("tar").args(["--extract", "--gzip", "--directory"]).arg(root).arg("--file").arg(&layer));
    let plain = tool(Command::new("sh").args(["-c", "gzip -dc \"$1\" | sha256sum", "sh"]).arg(&layer));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", &plain[..64]));
    config
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The blob that a descriptor names, which must have its size and digest.
#[track_caller]
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    assert_eq!(descriptor["size"], path.metadata().unwrap().len());
    assert_eq!(&tool(Command::new("sha256sum").arg(&path))[..64], digest);
    path
}

#[test]
fn it_holds_the_binary_and_nothing_else() {
    let _turn = Turn::take();
    let image = Image::new();
    let files: Vec<_> = std::fs::read_dir(image.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["sidestep"]);
    assert_eq!(image.config["architecture"], if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    assert_eq!(image.config["config"]["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    let help = tool(Command::new(image.root().join("sidestep")).arg("help"));
    assert!(help.contains("Usage: sidestep"), "{help}");
}

#[test]
fn each_architecture_has_its_own_binary() {
    let _turn = Turn::take();
    let directory = TemporaryDirectory::new();
    // Files that say they are for an architecture, by e_machine in their ELF header; nothing runs them.
    let machines = [("amd64", 0x3e), ("arm64", 0xb7)];
    let binaries = machines.map(|(name, machine)| {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        bytes[18..20].copy_from_slice(&u16::to_le_bytes(machine));
        let path = directory.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        (path.to_str().unwrap().to_owned(), bytes)
    });
    let layout = unpack(&directory, &binaries.each_ref().map(|(path, _)| path.as_str()));
    let manifests = manifests(&layout);
    assert_eq!(manifests.len(), machines.len());
    for ((manifest, (name, _)), (_, bytes)) in manifests.iter().zip(machines).zip(&binaries) {
        assert_eq!(manifest["platform"], serde_json::json!({ "architecture": name, "os": "linux" }));
        let root = directory.path().join(format!("root-{name}"));
        assert_eq!(contents(&layout, manifest, &root)["architecture"], name);
        assert!(&std::fs::read(root.join("sidestep")).unwrap() == bytes, "{name} has another binary");
    }
}

#[test]
fn the_same_binary_gives_the_same_bytes() {
    let _turn = Turn::take();
    let directory = TemporaryDirectory::new();
    let archives = ["one.tar", "two.tar"].map(|name| {
        let path = directory.path().join(name);
        // A small one.
        assert!(write(&path, &["/bin/true"]).status.success());
        std::fs::read(path).unwrap()
    });
    assert!(archives[0] == archives[1]);
}

#[test]
fn what_is_not_a_binary_is_refused_in_one_sentence() {
    let _turn = Turn::take();
    let directory = TemporaryDirectory::new();
    let archive = directory.path().join("image.tar");
    let text = directory.path().join("text");
    std::fs::write(&text, "a text\n").unwrap();
    let binary = env!("CARGO_BIN_EXE_sidestep");
    let cases: [(&[&str], &str); 4] = [
        (&[], "give the archive to write and a binary"),
        (&["/nonexistent"], "there is no /nonexistent; build it"),
        (&[text.to_str().unwrap()], "is not an ELF file for x86-64 or arm64; build it"),
        (&[binary, binary], "; give one"),
    ];
    for (binaries, sentence) in cases {
        let output = write(&archive, binaries);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(sentence) && error.lines().count() == 1, "{error}");
        assert!(!archive.exists());
    }
}
