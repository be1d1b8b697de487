//! Items that are public and that no code uses. The compiler names the others: it cannot know who else uses a public one.

use std::collections::HashMap;
use std::path::Path;

use crate::source;

/// Where code that uses the crate is.
const PLACES: [&str; 5] = ["src", "tests", "examples", "benches", "fuzz/fuzz_targets"];

/// Every word of code, with how often it is there.
fn count<'a>(texts: impl Iterator<Item = &'a String>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for word in texts.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_')) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// The name of the public item that a line declares.
fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(place) => place.split_once(')')?.1,
        None => rest,
    };
    let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let is_kind = |word: &str| matches!(word, "fn" | "const" | "static" | "struct" | "enum" | "trait" | "type");
    let kind = words.next().filter(|word| is_kind(word) || *word == "unsafe")?;
    let name = words.find(|word| !is_kind(word) && *word != "unsafe")?;
    (!kind.is_empty()).then_some(name)
}

#[test]
fn every_public_item_is_used() {
    let root = source::root();
    let places = PLACES.map(|place| root.join(place)).into_iter().filter(|place| place.is_dir());
    let files =
        places.flat_map(|place| source::files(&place)).filter(|file| file.extension().is_some_and(|end| end == "rs"));
    let texts: Vec<_> = files.map(|file| (source::blank(&std::fs::read_to_string(&file).unwrap()), file)).collect();
    let counts = count(texts.iter().map(|(text, _)| text));
    let mut unused = Vec::new();
    // The tables of the kernel's ABI are whole, also where a row has no user.
    let is_ours = |file: &Path| file.starts_with(root.join("src")) && !file.starts_with(root.join("src/uapi"));
    for (text, file) in texts.iter().filter(|(_, file)| is_ours(file)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(name) = declared(line).filter(|name| counts.get(name) == Some(&1)) {
                unused.push(format!("{}:{}: {name}", file.strip_prefix(&root).unwrap().display(), number + 1));
            }
        }
    }
    assert!(unused.is_empty(), "no code, test or example uses these: remove them, or test them\n{}", unused.join("\n"));
}

#[test]
fn declarations_are_read() {
    for (line, name) in [
        ("    pub const fn is_tracked(self) -> bool {", Some("is_tracked")),
        ("pub(in crate::dataplane) struct Ends<'a> {", Some("Ends")),
        ("    pub(super) unsafe fn raw(x: u8) {", Some("raw")),
        ("pub const WORDS: [u8; 3] = [];", Some("WORDS")),
        ("    pub name: String,", None),
        ("pub use other::Thing;", None),
        ("    fn private() {", None),
    ] {
        assert_eq!(declared(line), name, "{line}");
    }
}
