//! The Debian package, installed into a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::machine::{Turn, missing};
use crate::{DEPLOY, TemporaryDirectory};

/// Whether dpkg and systemd are installed; a failure where `CI` is set.
fn is_possible() -> bool {
    let is_here = |tool| Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
    ["dpkg-deb", "systemd-analyze"].into_iter().all(is_here)
        || missing("packages", "it takes Debian's dpkg and systemd")
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs deploy/deb.
fn write(package: &Path, binary: &str) -> Output {
    run(Command::new(format!("{DEPLOY}/deb")).arg(package).arg(binary))
}

/// A root directory with dpkg's database and nothing else.
fn empty_root(directory: &TemporaryDirectory) -> PathBuf {
    let root = directory.path().join("root");
    let database = root.join("var/lib/dpkg");
    for name in ["info", "updates"] {
        std::fs::create_dir_all(database.join(name)).unwrap();
    }
    std::fs::write(database.join("status"), "").unwrap();
    root
}

/// dpkg on that root. The package's scripts see where it is.
#[track_caller]
fn dpkg(root: &Path, action: &str, what: &Path) {
    let mut command = Command::new("dpkg");
    command.arg("--root").arg(root).args(["--force-script-chrootless", action]).arg(what);
    let output = run(&mut command);
    assert!(output.status.success(), "{output:?}");
}

/// The files of the package below a directory.
fn files(root: &Path) -> Vec<PathBuf> {
    let output = run(Command::new("find").arg(root).args(["-type", "f", "-not", "-path", "*/var/lib/dpkg/*"]));
    String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[test]
fn it_installs_works_and_goes_without_a_trace() {
    let _turn = Turn::take();
    if !is_possible() {
        return;
    }
    let directory = TemporaryDirectory::new();
    let package = directory.path().join("sidestep.deb");
    let written = write(&package, env!("CARGO_BIN_EXE_sidestep"));
    assert!(written.status.success(), "{written:?}");
    let root = empty_root(&directory);
    dpkg(&root, "--install", &package);
    let config = root.join("etc/sidestep/config.toml");
    let checked = run(Command::new(root.join("usr/bin/sidestep")).args(["config", "check"]).arg(&config));
    assert!(checked.status.success(), "{checked:?}");
    for file in ["man/man1/sidestep-run.1.gz", "bash-completion/completions/sidestep", "doc/sidestep/copyright"] {
        assert!(root.join("usr/share").join(file).exists(), "{file}");
    }
    let units = root.join("usr/lib/systemd/system");
    let unit = std::fs::read_to_string(units.join("sidestep.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/bin/sidestep run "), "{unit}");
    // systemd reads it among the units of this machine, which it depends on, and says what is wrong.
    let others = directory.path().join("others");
    std::fs::rename(&units, &others).unwrap();
    assert!(run(Command::new("cp").args(["-r", "/usr/lib/systemd/system"]).arg(&units)).status.success());
    std::fs::copy(others.join("sidestep.service"), units.join("sidestep.service")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let verified = run(verify.arg("verify").arg(format!("--root={}", root.display())).arg("sidestep.service"));
    let complaints = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success() && !complaints.contains("sidestep.service"), "{complaints}");
    std::fs::remove_dir_all(&units).unwrap();
    std::fs::rename(&others, &units).unwrap();
    // What the agent remembers goes with the settings.
    std::fs::create_dir_all(root.join("var/lib/sidestep")).unwrap();
    std::fs::write(root.join("var/lib/sidestep/splices"), "").unwrap();
    dpkg(&root, "--remove", Path::new("sidestep"));
    assert_eq!(files(&root).len(), 2, "the settings, and what the agent remembers: {:?}", files(&root));
    dpkg(&root, "--purge", Path::new("sidestep"));
    assert_eq!(files(&root), [""; 0].map(PathBuf::from));
}

#[test]
fn what_is_not_sidestep_is_refused_in_one_sentence() {
    let _turn = Turn::take();
    let directory = TemporaryDirectory::new();
    let package = directory.path().join("sidestep.deb");
    for (binary, sentence) in [("/nonexistent", "there is no program"), ("/bin/true", "/bin/true is not sidestep")] {
        let output = write(&package, binary);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(sentence) && error.lines().count() == 1, "{error}");
        assert!(!package.exists());
    }
}
