//! The unit under the real systemd, in a guest of the kernel matrix: a systemd of its own must not share this machine's /tmp and cgroups.

use std::process::{Command, Stdio};

use crate::TemporaryDirectory;
use crate::support::machine::{Turn, missing};

/// The systemd of the guest is the one of this machine.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

#[test]
fn the_unit_starts_reloads_comes_back_and_stops() {
    if !std::path::Path::new(SYSTEMD).exists() {
        missing("packages", "it takes Debian's systemd");
        return;
    }
    // The emulator would end with the cgroup of another test.
    let _turn = Turn::take();
    let logs = TemporaryDirectory::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages/systemd/run");
    let mut command = Command::new(script);
    command.arg(env!("CARGO_BIN_EXE_sidestep")).arg(logs.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let (console, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {console}{errors}", output.status);
}
