//! Pages that are made from the code.

use std::path::Path;

/// Compares the page below `docs/` with what the code says now; with `UPDATE` set, writes it.
pub(crate) fn compare(page: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == now, "docs/{page} is not what the code says; run `UPDATE=1 cargo test --test docs` and commit it");
}
