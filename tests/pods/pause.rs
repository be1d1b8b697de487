//! The image of the sandboxes' own container: busybox, which sleeps. It has a namespace of processes of its own, whose first
//! process takes no notice of SIGTERM (pid_namespaces(7)).

use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name.
pub(crate) const NAME: &str = "localhost/sidestep-pause:1";

/// Writes it below `dir` as an archive that `ctr images import` takes; returns its path.
pub(crate) fn write(dir: &Path) -> PathBuf {
    let dir = dir.join("image");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    std::fs::copy("/bin/busybox", dir.join("root/busybox")).expect("install busybox-static");
    output(Command::new("tar").args(["-C", "root", "-cf", "layer.tar", "busybox"]).current_dir(&dir));
    let sum = output(Command::new("sha256sum").arg("layer.tar").current_dir(&dir));
    let sum = sum.split(' ').next().unwrap();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Entrypoint":["/busybox","sleep","100000"],"StopSignal":"SIGKILL"}},
"rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}}}}"#,
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
    );
    std::fs::write(dir.join("config.json"), config).unwrap();
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{NAME}"],"Layers":["layer.tar"]}}]"#);
    std::fs::write(dir.join("manifest.json"), manifest).unwrap();
    let files = ["manifest.json", "config.json", "layer.tar"];
    output(Command::new("tar").args(["-cf", "image.tar"]).args(files).current_dir(&dir));
    dir.join("image.tar")
}

/// Runs a command, which must succeed; what it prints.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
