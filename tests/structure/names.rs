//! The names of files.

use crate::source;

/// A file that a command left behind by mistake: a name that begins with a hyphen is an option to every tool, and one with a space is
/// two names to a script.
#[test]
fn files_have_names_that_every_tool_can_take() {
    let root = source::root();
    let made = ["target", ".git", "fuzz/target", "fuzz/corpus", "fuzz/artifacts"].map(|name| root.join(name));
    let mut left = vec![root.clone()];
    let mut wrong = Vec::new();
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if !is_plain(&name) {
                wrong.push(path.display().to_string());
            }
            if path.is_dir() && !path.is_symlink() && !made.contains(&path) {
                left.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "rename or remove {}", wrong.join(", "));
}

fn is_plain(name: &str) -> bool {
    !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte))
}

#[test]
fn a_hyphen_and_spaces_are_found() {
    assert!(["Cargo.toml", ".gitignore", "a-b_c"].into_iter().all(is_plain));
    assert!(!["-", "-x", "a b", "it's", "ä"].into_iter().any(is_plain));
}
