//! What may only be done to a machine that is the test's own: a guest of the kernel matrix.

use std::path::PathBuf;

/// Whether this is one: tests/matrix says so. Elsewhere it is said loudly that `test` is left out, which does not fail:
/// the matrix runs it.
pub(crate) fn is_ours(test: &str) -> bool {
    let ours = std::env::var_os("SIDESTEP_GUEST").is_some();
    if !ours {
        eprintln!(
            "\n*** {test}: NOT TESTED: it changes the whole machine; tests/matrix/run tests it in its guests ***\n"
        );
    }
    ours
}

/// A file of /proc/sys with another value, until this goes.
pub(crate) struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    pub(crate) fn new(name: &str, value: &str) -> Self {
        let path = PathBuf::from("/proc/sys").join(name);
        let setting = Self { before: std::fs::read_to_string(&path).unwrap(), path };
        std::fs::write(&setting.path, value).unwrap();
        setting
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        std::fs::write(&self.path, &self.before).unwrap();
    }
}
