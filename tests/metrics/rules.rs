//! The rules and alerts that deploy/ ships.

use std::process::Command;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

#[test]
fn the_rules_fire_when_they_should() {
    for args in [["check", "rules", "sidestep.rules.yml"], ["test", "rules", "sidestep.rules.test.yml"]] {
        if !crate::prometheus::is_here() {
            return;
        }
        let output = Command::new("promtool").args(args).current_dir(DIRECTORY).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}
