//! Relative links between documents: the file exists, and a `#heading` in it does.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every Markdown file of the project, by its path below the root.
fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                documents(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The text without fenced code, in which brackets are not links.
fn prose(text: &str) -> String {
    let parts = text.split("\n```").enumerate();
    parts.filter(|(number, _)| number % 2 == 0).map(|(_, part)| part).collect::<Vec<_>>().join("\n")
}

/// What stands in the round brackets of `[text](target)`, and behind `[name]:`.
fn targets(text: &str) -> Vec<String> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let named = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|(_, target)| target);
    inline.chain(named).map(|target| target.trim().to_owned()).collect()
}

/// A heading's anchor as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut files = Vec::new();
    documents(Path::new(ROOT), &mut files);
    assert!(files.len() > 5, "the documents were not found: {files:?}");
    let mut broken = Vec::new();
    for file in &files {
        for target in targets(&prose(&std::fs::read_to_string(file).unwrap())) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').map_or((target.as_str(), None), |(path, at)| (path, Some(at)));
            let destination = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let exists = destination.exists();
            let found = heading.is_none_or(|heading| {
                let text = std::fs::read_to_string(&destination).unwrap_or_default();
                prose(&text)
                    .lines()
                    .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')))
                    .any(|text| anchor(text) == heading)
            });
            if !exists || !found {
                broken.push(format!("{}: {target}", file.strip_prefix(ROOT).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    assert_eq!(anchor("Programs that look after themselves"), "programs-that-look-after-themselves");
    assert_eq!(anchor("`run` and `attach`: when?"), "run-and-attach-when");
}
