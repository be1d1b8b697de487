//! The software bill of materials.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{DEPLOY, TemporaryDirectory};

/// Runs deploy/sbom.
fn bill(file: &Path, target: &str) -> Vec<u8> {
    let output = Command::new(format!("{DEPLOY}/sbom")).args([file.as_os_str(), target.as_ref()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::read(file).unwrap()
}

/// The crates that cargo builds for the binary, as NAME@VERSION, but for our own.
fn built(target: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--release", "--bin", "sidestep", "--target", target]);
    // Only an unstable option says what would be built, and this variable lets the pinned toolchain take it.
    cargo.args(["-Z", "unstable-options", "--unit-graph"]).env("RUSTC_BOOTSTRAP", "1");
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids = graph["units"].as_array().unwrap().iter().map(|unit| unit["pkg_id"].as_str().unwrap());
    let others = ids.filter(|id| !id.starts_with("path+"));
    others.map(|id| id.split_once('#').unwrap().1.to_owned()).collect()
}

#[test]
fn it_names_what_is_built_for_the_binary_and_nothing_else() {
    let directory = TemporaryDirectory::new();
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let bytes = bill(&directory.path().join("one.json"), target);
        assert_eq!(bytes, bill(&directory.path().join("other.json"), target), "the same sources give the same bytes");
        let bill: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
        let own = &bill["metadata"]["component"];
        assert_eq!((&own["name"], &own["version"]), (&"sidestep".into(), &env!("CARGO_PKG_VERSION").into()));
        let components = bill["components"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let named = components.iter().map(|one| format!("{}@{}", text(&one["name"]), text(&one["version"])));
        assert_eq!(named.collect::<BTreeSet<_>>(), built(target), "{target}");
        for one in components {
            assert_eq!(text(&one["hashes"][0]["content"]).len(), 64, "SHA-256: {one}");
            assert!(!text(&one["licenses"][0]["expression"]).contains('/'), "{one}");
        }
        let known = components.iter().chain([own]).map(|one| text(&one["bom-ref"])).collect::<BTreeSet<_>>();
        let edges = bill["dependencies"].as_array().unwrap();
        assert_eq!(edges.iter().map(|one| text(&one["ref"])).collect::<BTreeSet<_>>(), known);
        for need in edges.iter().flat_map(|one| one["dependsOn"].as_array().unwrap()) {
            assert!(known.contains(&text(need)), "{need}");
        }
    }
}
