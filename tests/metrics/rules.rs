//! The rules and alerts that deploy/ ships.

use std::process::Command;

use crate::support::machine::Turn;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

#[test]
fn the_rules_fire_when_they_should() {
    // Promtool would otherwise run in another test's cgroup, and end with it.
    let _turn = Turn::take();
    for args in [["check", "rules", "sidestep.rules.yml"], ["test", "rules", "sidestep.rules.test.yml"]] {
        if !crate::prometheus::is_here() {
            return;
        }
        let output = Command::new("promtool").args(args).current_dir(DIRECTORY).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}
