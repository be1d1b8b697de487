//! Which release of the kernel's own developers a distribution's kernel is.

use std::path::Path;

use crate::syscall::{Release, sysctl};

/// A release, as far as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatedVersion {
    /// This one, or one that has at least its corrections.
    Exactly(Release),
    /// A distribution's kernel of this series, with corrections that its name does not tell.
    Series(Release),
    /// The name is not a release.
    Unknown,
}

impl StatedVersion {
    /// The running kernel's.
    pub(super) fn running() -> Self {
        let (release, version) = match nix::sys::utsname::uname() {
            Ok(name) => (name.release().to_string_lossy().into_owned(), name.version().to_string_lossy().into_owned()),
            Err(_) => return Self::Unknown,
        };
        let signature = sysctl::read(Path::new("/proc/version_signature")).unwrap_or_default();
        Self::parse(&release, &version, &signature)
    }

    /// From uname(2)'s release (`6.1.0-56-cloud-amd64`) and version (`#1 SMP Debian 6.1.192-1 (2026-10-01)`), and from
    /// Ubuntu's /proc/version_signature (`Ubuntu 6.8.0-45.45-generic 6.8.12`).
    fn parse(release: &str, version: &str, signature: &str) -> Self {
        let debian = version.split_once("Debian ").map(|(_, rest)| rest);
        let ubuntu = signature.strip_prefix("Ubuntu ").and_then(|rest| rest.split_whitespace().nth(1));
        if let Some(stated) = debian.or(ubuntu).and_then(Release::parse) {
            return Self::Exactly(stated);
        }
        // A release by the kernel's own developers has nothing behind its numbers; a distribution that counts the stable
        // series does not leave the third number at 0.
        let is_bare = |text: &str| text.trim().chars().all(|c| c.is_ascii_digit() || c == '.');
        match Release::parse(release) {
            Some(stated) if stated.2 > 0 || is_bare(release) => Self::Exactly(stated),
            Some(stated) => Self::Series(stated),
            None => Self::Unknown,
        }
    }
}

/// Whether what came with the releases of `list`, one a stable series, is in `release`.
pub(super) fn has(list: &[Release], release: Release) -> bool {
    list.iter().any(|first| match first {
        // The first of its series, and so in all later series.
        Release(major, minor, 0) => (release.0, release.1) >= (*major, *minor),
        Release(major, minor, patch) => (release.0, release.1) == (*major, *minor) && release.2 >= *patch,
    })
}

/// A release without a third number that is 0, as the kernel's developers write it.
pub(super) fn short(release: Release) -> String {
    match release {
        Release(major, minor, 0) => format!("{major}.{minor}"),
        release => release.to_string(),
    }
}

/// Releases in a sentence, as the kernel's developers write them.
pub fn listed(releases: &[Release]) -> String {
    releases.iter().map(|release| short(*release)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_tell_more_or_less() {
        let debian = "#1 SMP Debian 5.10.262-1 (2026-09-30)";
        let dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-14)";
        for (release, version, signature, stated) in [
            ("5.10.0-46-cloud-amd64", debian, "", StatedVersion::Exactly(Release(5, 10, 262))),
            ("6.12.117+deb13-amd64", dynamic, "", StatedVersion::Exactly(Release(6, 12, 117))),
            (
                "6.8.0-45-generic",
                "#45-Ubuntu SMP",
                "Ubuntu 6.8.0-45.45-generic 6.8.12\n",
                StatedVersion::Exactly(Release(6, 8, 12)),
            ),
            ("6.8.0-45-generic", "#45-Ubuntu SMP", "", StatedVersion::Series(Release(6, 8, 0))),
            ("5.14.0-503.el9.x86_64", "#1 SMP PREEMPT_DYNAMIC", "", StatedVersion::Series(Release(5, 14, 0))),
            ("6.1.102-111.182.amzn2023.x86_64", "#1 SMP", "", StatedVersion::Exactly(Release(6, 1, 102))),
            ("6.12.0", "#1 SMP", "", StatedVersion::Exactly(Release(6, 12, 0))),
            ("7.0.0-rc3", "#1 SMP", "", StatedVersion::Series(Release(7, 0, 0))),
            ("", "", "", StatedVersion::Unknown),
            ("linux", "#1 SMP Debian", "Ubuntu", StatedVersion::Unknown),
        ] {
            assert_eq!(StatedVersion::parse(release, version, signature), stated, "{release} {version}");
        }
        assert_ne!(StatedVersion::running(), StatedVersion::Unknown);
    }

    #[test]
    fn a_series_without_an_entry_has_what_came_with_an_earlier_one() {
        let list = [Release(5, 10, 258), Release(6, 1, 20), Release(6, 3, 0)];
        for (release, expected) in [
            (Release(5, 10, 257), false),
            (Release(5, 10, 258), true),
            (Release(5, 11, 300), false),
            (Release(6, 1, 19), false),
            (Release(6, 2, 9), false),
            (Release(6, 3, 0), true),
            (Release(7, 0, 1), true),
        ] {
            assert_eq!(has(&list, release), expected, "{release}");
        }
        assert!(!has(&[], Release(9, 0, 0)));
        assert_eq!(listed(&list), "5.10.258, 6.1.20, 6.3");
    }
}
