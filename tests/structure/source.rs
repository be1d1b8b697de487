//! The text of Rust files: without comments, strings and unit tests, and as `use` declarations and paths.

use std::path::{Path, PathBuf};

/// The crate's directory.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory`, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The code of a file: unit tests, comments and the contents of strings are blank.
pub(crate) fn code(text: &str) -> String {
    let text = blank(text);
    // Unit tests stand at the end of a file, and may look at everything.
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Blanks comments and strings. Lines stay where they are.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if rest.starts_with('"') {
            string(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            out.push(bytes[at]);
            at += 1;
            continue;
        };
        out.extend(bytes[at..at + length].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The length of the raw string literal that `text` begins with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.bytes().take_while(|&byte| byte == b'#').count();
    let body = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    Some(text.len() - body.len() + body.find(&end)? + end.len())
}

/// The length of the character literal that `text` begins with, if it does. A lifetime is not one.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let first = rest.chars().next()?;
    if first == '\\' {
        return Some(rest[2..].find('\'')? + 4);
    }
    rest[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

/// One name that a `use` declaration brings.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// The segments of its path; the last may be `*`.
    pub(crate) path: Vec<String>,
    /// The name it has here.
    pub(crate) name: String,
    /// It is a re-export.
    pub(crate) is_public: bool,
}

/// The `use` declarations of code, and the code without them.
pub(crate) fn imports(code: &str) -> (Vec<Import>, String) {
    let (mut found, mut rest, mut at) = (Vec::new(), String::new(), 0);
    while at < code.len() {
        let line = &code[at..];
        let end = line.find('\n').map_or(line.len(), |end| end + 1);
        let head = line.trim_start();
        let is_public = head.starts_with("pub use ") || head.starts_with("pub(") && line[..end].contains(") use ");
        if head.starts_with("use ") && line.len() - head.len() < end || is_public {
            let declaration = line.find(';').map_or(line.len(), |end| end + 1);
            let (_, tree) = line[..declaration - 1].split_once("use ").unwrap();
            tree_paths(&[], tree.trim(), is_public, &mut found);
            at += declaration;
        } else {
            rest.push_str(&line[..end]);
            at += end;
        }
    }
    (found, rest)
}

/// The paths of a tree such as `a::{b, c::{self, d as e}}`.
fn tree_paths(before: &[String], tree: &str, is_public: bool, found: &mut Vec<Import>) {
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, Some(group.trim_end().strip_suffix('}').unwrap())),
        None => (tree, None),
    };
    let (head, alias) = match head.split_once(" as ") {
        Some((head, alias)) => (head, Some(alias.trim().to_owned())),
        None => (head, None),
    };
    let own = head.split("::").map(str::trim).filter(|segment| !segment.is_empty());
    let mut path: Vec<String> = before.iter().cloned().chain(own.map(str::to_owned)).collect();
    let Some(group) = group else {
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
        found.push(Import { path, name, is_public });
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, character) in group.char_indices().chain([(group.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    tree_paths(&path, part, is_public, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Every path of two segments or more in code, such as `options::Policy::default`.
pub(crate) fn paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (bytes, mut found, mut at) = (code.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        if !is_word(bytes[at]) || at > 0 && matches!(bytes[at - 1], b':' | b'.') {
            at += 1;
            continue;
        }
        let mut path = Vec::new();
        loop {
            let start = at;
            at += bytes[at..].iter().take_while(|&&byte| is_word(byte)).count();
            path.push(code[start..at].to_owned());
            if !code[at..].starts_with("::") || !bytes.get(at + 2).copied().is_some_and(is_word) {
                break;
            }
            at += 2;
        }
        if path.len() > 1 {
            found.push(path);
        }
    }
    found
}

#[test]
fn use_trees_and_paths_are_read() {
    let text = "//! use crate::no;\nuse a::{b, c::{self, d as e}, f::*};\npub(in crate::x) use g::H;\nfn f() { \"x::y\"; h::i(J::K) }\n\
                #[cfg(test)]\nmod tests {\nuse crate::tested;\n}\n";
    let (found, rest) = imports(&code(text));
    let seen: Vec<_> =
        found.iter().map(|import| (import.path.join("::"), import.name.as_str(), import.is_public)).collect();
    let expected = [
        ("a::b", "b", false),
        ("a::c", "c", false),
        ("a::c::d", "e", false),
        ("a::f::*", "*", false),
        ("g::H", "H", true),
    ];
    assert_eq!(seen, expected.map(|(path, name, public)| (path.to_owned(), name, public)));
    assert_eq!(paths(&rest).iter().map(|path| path.join("::")).collect::<Vec<_>>(), ["h::i", "J::K"]);
}
