//! Files of different directories do not use each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::{Module, Tree};

/// Directories below src in which no two files use each other in a circle, even if they lie side by side.
const WITHOUT_CIRCLES: [&str; 1] = ["dataplane"];

/// The shortest way from `from` to itself, if there is one that `is_wanted`.
fn circle<'a>(
    uses: &'a BTreeMap<&Module, BTreeSet<Module>>,
    from: &'a Module,
    is_wanted: impl Fn(&[&Module]) -> bool,
) -> Option<Vec<&'a Module>> {
    // Breadth first: each module is reached by a shortest way.
    let (mut seen, mut ways) = (BTreeSet::new(), VecDeque::from([vec![from]]));
    while let Some(way) = ways.pop_front() {
        for next in uses.get(way[way.len() - 1]).into_iter().flatten() {
            if next == from && is_wanted(&way) {
                return Some(way);
            }
            if next != from && seen.insert(next) {
                ways.push_back(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

fn directory(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(directory, _)| directory)
}

#[test]
fn no_circle_crosses_directories() {
    let tree = Tree::read();
    let uses = tree.uses();
    let mut circles = BTreeMap::new();
    for module in uses.keys() {
        let is_forbidden = |way: &[&Module]| {
            let mut directories: Vec<&str> = way.iter().map(|module| directory(tree.file(module))).collect();
            let strict = WITHOUT_CIRCLES.iter().any(|name| directories[0].starts_with(name));
            directories.dedup();
            strict || directories.len() > 1
        };
        if let Some(way) = circle(&uses, module, is_forbidden) {
            let files: Vec<&str> = way.iter().map(|module| tree.file(module)).collect();
            let mut key = files.clone();
            key.sort_unstable();
            circles.entry(key).or_insert_with(|| files.join(" -> "));
        }
    }
    let list: Vec<String> = circles.into_values().collect();
    assert!(list.is_empty(), "files that use each other in a circle:\n{}", list.join("\n"));
}
