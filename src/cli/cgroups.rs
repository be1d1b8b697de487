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

/// What is left of `path` below `directory`, if it is this directory or below it.
pub(super) fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    path.strip_prefix(directory.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A cgroup's path below one of the cgroup2 `mounts`, as /proc/PID/cgroup shows it, but without a slash at its end: that of the
/// root is empty. One that lies below none of them is such a path already.
pub(super) fn below_mount(cgroup: &str, mounts: &[PathBuf]) -> String {
    let rest = mounts.iter().filter_map(|mount| below(cgroup, mount.to_str()?)).min_by_key(|rest| rest.len());
    rest.unwrap_or(cgroup).trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_named_by_its_directory_or_by_its_path_below_the_mount() {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        for (given, path) in [
            ("/sys/fs/cgroup/unified/kubepods/a", "/kubepods/a"),
            ("/sys/fs/cgroup/kubepods", "/kubepods"),
            ("/kubepods/a", "/kubepods/a"),
            ("/sys/fs/cgroups", "/sys/fs/cgroups"),
        ] {
            assert_eq!(below_mount(given, &mounts), path);
        }
        for (path, directory, is_below) in
            [("/a/b", "/a", true), ("/a", "/a/", true), ("/ab", "/a", false), ("/b", "/", true), ("/b", "", true)]
        {
            assert_eq!(below(path, directory).is_some(), is_below, "{path} {directory}");
        }
    }

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
