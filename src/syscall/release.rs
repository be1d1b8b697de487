//! The kernel's release, for the few decisions that no probe can take.

use std::fmt;

/// Version numbers of a kernel: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Takes the numbers at the head of a release (`6.1.0-13-amd64`, `5.10`, `6.18.44-fc`). Missing numbers are 0.
    /// Note that Debian's release is not the upstream patch level.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse::<u32>().ok()
        });
        let major = numbers.next()??;
        let minor = numbers.next()??;
        Some(Self(major, minor, numbers.next().flatten().unwrap_or(0)))
    }

    /// The running kernel; `None` when uname(2) gives something that is not a release.
    pub fn running() -> Option<Self> {
        Self::parse(&Self::running_text())
    }

    /// The running kernel's release as uname(2) gives it, for messages.
    pub fn running_text() -> String {
        match nix::sys::utsname::uname() {
            Ok(name) => name.release().to_string_lossy().into_owned(),
            Err(errno) => format!("unknown release: {errno}"),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_releases_distributions_make() {
        for (text, release) in [
            ("6.1.0-13-amd64", Release(6, 1, 0)),
            ("6.18.44-fc-v657", Release(6, 18, 44)),
            ("5.10", Release(5, 10, 0)),
            ("5.15.153.1-microsoft-standard-WSL2", Release(5, 15, 153)),
            ("7.0-rc3", Release(7, 0, 0)),
            ("6.12.0+rpt-rpi-v8\n", Release(6, 12, 0)),
        ] {
            assert_eq!(Release::parse(text), Some(release), "{text}");
        }
        for text in ["", "linux", "6", "6.", "-1.2", "99999999999.1"] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
        assert!(Release(5, 10, 0) < Release(5, 11, 0));
    }

    #[test]
    fn the_running_kernel_has_a_release() {
        assert!(Release::running().unwrap() > Release(4, 0, 0));
    }
}
