//! Where the programs are.

use std::path::{Path, PathBuf};

/// Directories of executables. Debian's own come before others, so that the versions are the distribution's.
const PLACES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/lib/systemd", "/usr/local/bin", "/bin"];

/// The executable of this name: Debian's, PostgreSQL's of any version, or one of PyPI's packages.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    if let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    if let Some(name) = name.strip_prefix("pypi:") {
        return pypi(name);
    }
    places.into_iter().map(|place| place.join(name)).find(|path| path.exists())
}

/// An executable of the environment that `tests/programs/run --all` makes.
fn pypi(name: &str) -> Option<PathBuf> {
    let environment = std::env::var_os("PROGRAMS_PYPI").map(PathBuf::from)?;
    let path = environment.join("bin").join(name);
    path.exists().then_some(path)
}

/// A file beside these.
pub(crate) fn source(name: &str) -> String {
    format!("{}/tests/programs/sources/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Where something that is built for the cases is kept.
pub(crate) fn built(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"))
}

/// Whether the first file was written after the second one.
pub(crate) fn is_newer(built: &str, source: &str) -> bool {
    let written = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    matches!((written(built), written(source)), (Ok(built), Ok(source)) if built > source)
}
