//! Imports between the modules of the crate's root point one way: in the order that src/lib.rs states.

use crate::imports::Tree;
use crate::source;

/// The modules in the order of the list in src/lib.rs, the lowest first.
fn stated() -> Vec<String> {
    let text = std::fs::read_to_string(source::root().join("src/lib.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("//! - [`")?.split('`').next());
    names.map(|name| name.trim_start_matches("mod@").to_owned()).collect()
}

/// Ungated redirection keeps no order and bounds no memory: a command that accelerates must not be able to load it.
#[test]
fn only_the_benchmark_uses_ungated_redirection() {
    let tree = Tree::read();
    let ungated = ["dataplane".to_owned(), "ungated".to_owned()].to_vec();
    let users: Vec<_> = tree
        .uses()
        .into_iter()
        .filter(|(_, used)| used.contains(&ungated))
        .map(|(module, _)| tree.file(module))
        .collect();
    assert_eq!(users, ["bench/ungated.rs"]);
}

#[test]
fn no_import_points_down_the_list_of_the_crate() {
    let (tree, order) = (Tree::read(), stated());
    let rank = |name: &str| order.iter().position(|known| known == name);
    let mut wrong = Vec::new();
    for (module, used) in tree.uses() {
        let Some(own) = module.first() else { continue };
        if rank(own).is_none() {
            wrong.push(format!("src/lib.rs does not say where {own} stands in the order"));
        }
        for other in used.iter().filter_map(|used| used.first()) {
            if rank(other) > rank(own) {
                wrong.push(format!("src/{} uses {other}, which comes after {own} in src/lib.rs", tree.file(module)));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
