//! Settings of the kernel, from /proc/sys and securityfs.

use std::path::Path;

use super::error::{Error, Result};

/// Reads a small text file and trims it.
pub fn read(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read", path, &error))?;
    Ok(text.trim().to_owned())
}

/// The value of a numeric setting, for example `net/core/bpf_jit_enable`; `None` when this kernel (or network
/// namespace) does not have it, an error when it cannot be read.
pub fn number(name: &str) -> Result<Option<i64>> {
    let path = Path::new("/proc/sys").join(name);
    match read(&path) {
        Ok(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Error::Malformed { what: "a setting under /proc/sys", why: format!("{name} is {text:?}") }),
        Err(Error::File { errno, .. }) if errno == super::Errno::ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// How much lockdown(7) restricts even root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lockdown {
    /// Not at all.
    None,
    /// The kernel cannot be modified.
    Integrity,
    /// Nor read: `bpf_probe_read_kernel` is refused.
    Confidentiality,
}

/// The lockdown mode; `None` when securityfs is not mounted or the module is not built in, so that the file does not
/// tell.
pub fn lockdown() -> Result<Option<Lockdown>> {
    match read(Path::new("/sys/kernel/security/lockdown")) {
        Ok(text) => Ok(parse_lockdown(&text)),
        Err(Error::File { errno, .. }) if errno == super::Errno::ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// `[none] integrity confidentiality`: the one in brackets holds.
fn parse_lockdown(text: &str) -> Option<Lockdown> {
    let (_, rest) = text.split_once('[')?;
    match rest.split_once(']')?.0 {
        "none" => Some(Lockdown::None),
        "integrity" => Some(Lockdown::Integrity),
        "confidentiality" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_lockdown_mode_holds() {
        assert_eq!(parse_lockdown("[none] integrity confidentiality"), Some(Lockdown::None));
        assert_eq!(parse_lockdown("none [integrity] confidentiality"), Some(Lockdown::Integrity));
        assert_eq!(parse_lockdown("none integrity [confidentiality]"), Some(Lockdown::Confidentiality));
        for bad in ["", "none", "[", "[new] none"] {
            assert_eq!(parse_lockdown(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_setting_that_does_not_exist_is_not_an_error() {
        assert_eq!(number("net/core/there_is_no_such_setting").unwrap(), None);
    }
}
