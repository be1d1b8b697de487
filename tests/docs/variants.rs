//! What the guide for developers prints of the table of fingerprints.

use std::path::Path;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// A check of the gate is in every variant but those of the sticky tier.
#[test]
fn the_guide_counts_the_variants_as_the_table_has_them() {
    let table = read("fixtures/dataplane/fingerprints.txt");
    let names: Vec<_> = table.lines().map(|line| line.split('\t').next().unwrap()).collect();
    let sticky = names.iter().filter(|name| name.ends_with(" sticky")).count();
    assert_eq!(sticky, 4, "docs/how-to/change-a-check.md says four");
    let said = format!("{} of {} variants differ", names.len() - sticky, names.len());
    assert!(read("docs/how-to/change-a-check.md").contains(&said), "docs/how-to/change-a-check.md: write \"{said}\"");
}
