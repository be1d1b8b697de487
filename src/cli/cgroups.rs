//! The cgroups that a command line names.

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::syscall::cgroup::{self, Cgroup};

/// The second half of a sentence that says what is wrong with `--cgroup`.
pub(super) fn hint() -> String {
    match cgroup::find() {
        Ok(Some(root)) => format!("cgroup2 is mounted at {}: name a directory there", root.display()),
        _ => "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".into(),
    }
}

/// A cgroup, opened.
pub(super) fn open(path: &Path) -> Result<Cgroup, Error> {
    Cgroup::open(path).map_err(|error| Error::Failed(format!("{error}; {}", hint())))
}

/// The directories that a pattern names, in order. A path that exists names itself, whatever characters are in it; so does
/// one without `*`, `?` and `[`.
pub(super) fn matching(argument: &str, pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = pattern.to_string_lossy();
    if pattern.exists() || !text.contains(['*', '?', '[']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let paths = glob::glob(&text).map_err(|error| Error::Usage(format!("{argument} {text}: {error}")))?;
    // What cannot be looked into is not named.
    let found: Vec<PathBuf> = paths.filter_map(Result::ok).filter(|path| path.is_dir()).collect();
    if found.is_empty() {
        return Err(Error::Failed(format!("{argument} {text}: no directory has such a name; {}", hint())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_the_directories_that_it_matches() {
        let dir = std::env::temp_dir().join(format!("sidestep-patterns-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        for name in ["pod-b", "pod-a", "other", "pod-[1]"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        std::fs::write(dir.join("pod-file"), "").unwrap();
        let named = |pattern: &str| {
            let found = matching("--cgroup", &dir.join(pattern)).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(named("pod-?").unwrap(), ["pod-a", "pod-b"]);
        assert_eq!(named("pod-[1]").unwrap(), ["pod-[1]"], "a path that exists is not taken for a pattern");
        assert_eq!(named("not-there").unwrap(), ["not-there"], "Cgroup::open says what is wrong with it");
        assert!(named("x*").unwrap_err().contains("no directory has such a name"));
        assert!(named("a[").unwrap_err().contains("--cgroup"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
