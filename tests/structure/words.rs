//! Words that this project does not use: a reader whose English is a second language trips over them.

use std::path::Path;

use crate::source;

/// What is searched, below the crate's directory.
const PLACES: [&str; 14] = [
    ".cargo",
    ".ci",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benches",
    "deploy",
    "docs",
    "examples",
    "fixtures/verifier",
    "fuzz",
    "src",
    "tests",
];

/// The word, what to write instead, and what behind the word makes it another one. "There is no" is plain.
const WORDS: [(&str, &str, &[&str]); 23] = [
    ("nobody", "name the actor: \"no program\", \"no process\"", &[]),
    ("somebody", "name the actor: \"another program\", \"a user\"", &[]),
    ("whoever", "\"a process that\"", &[]),
    ("folk", "\"users\"", &[]),
    ("kin", "name the others", &[]),
    ("anew", "\"again\"", &[]),
    ("for good", "\"forever\" or \"permanently\"", &[]),
    ("as ever", "\"as before\" or \"as without sidestep\"", &[]),
    ("the former", "name it again", &[]),
    ("the latter", "name it again", &[]),
    ("is no", "\"is not a\"", &["longer", "more", "different"]),
    ("folder", "\"directory\"", &[]),
    ("folders", "\"directories\"", &[]),
    ("nudge", "\"wake the reader\"", &[]),
    ("nudges", "\"wakes the reader\"", &[]),
    ("mend", "\"correct\"", &[]),
    ("mends", "\"corrects\"", &[]),
    ("mended", "\"corrected\"", &[]),
    ("mending", "\"correcting\"", &[]),
    ("thereof", "\"of it\"", &[]),
    ("whence", "\"from where\"", &[]),
    ("wherein", "\"in which\"", &[]),
    ("for ever", "\"forever\"", &[]),
];

/// The words of `line` that are not to be used, with what to write instead.
fn found(line: &str) -> Vec<(&'static str, &'static str)> {
    // The user of that name, also in passwd(5)'s form. The kernel's verifier has `mend:`, the end of a member, in a message.
    let line = line.replace("`nobody`", "").replace("nobody 65534", "").replace("(mend:", "");
    let words: Vec<String> = line
        .split(|character: char| !character.is_alphanumeric() && character != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let is_at = |at: usize, phrase: &str| {
        phrase.split(' ').enumerate().all(|(n, word)| words.get(at + n).is_some_and(|found| found == word))
    };
    let mut found = Vec::new();
    for (phrase, instead, exceptions) in WORDS {
        let length = phrase.split(' ').count();
        let hits = (0..words.len()).filter(|&at| is_at(at, phrase));
        let mut hits =
            hits.filter(|&at| phrase != "is no" || at == 0 || !matches!(words[at - 1].as_str(), "there" | "where"));
        if hits.any(|at| !words.get(at + length).is_some_and(|next| exceptions.contains(&next.as_str()))) {
            found.push((phrase, instead));
        }
    }
    found
}

/// Whether a file's text is for readers: no generated data, and not this list.
fn is_read(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let is_text = |end: &str| matches!(end, "rs" | "md" | "toml" | "sh" | "yaml" | "service" | "txt");
    let is_made = |directory| name.contains(directory);
    !name.ends_with("words.rs")
        && !["/seeds/data/", "/fuzz/target/", "/fuzz/corpus/", "/fuzz/artifacts/"].into_iter().any(is_made)
        && path.extension().is_none_or(|end| is_text(&end.to_string_lossy()))
}

#[test]
fn texts_use_plain_words() {
    let root = source::root();
    let mut wrong = Vec::new();
    for place in PLACES.map(|place| root.join(place)) {
        // A package does not hold all of them.
        let files = if place.is_dir() { source::files(&place) } else { vec![place] };
        for file in files.iter().filter(|file| file.exists() && is_read(file)) {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read(file).unwrap();
            let text = String::from_utf8_lossy(&text);
            for (number, line) in text.lines().enumerate() {
                for (word, instead) in found(line) {
                    wrong.push(format!("{name}:{}: \"{word}\": write {instead}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn phrases_are_found_in_any_case_and_not_inside_words() {
    let words = |line: &str| found(line).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
    assert_eq!(words("Nobody is no friend; this is no longer true, and the skin is fine."), ["nobody", "is no"]);
    assert!(words("there is no file").is_empty());
    assert_eq!(words("it stays for good, as ever"), ["for good", "as ever"]);
    assert!(words("write_folder and is not a kind of it").contains(&"folder"));
}
