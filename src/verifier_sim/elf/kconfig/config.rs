//! The configuration that a kernel was built with: what /proc/config.gz holds, and `/boot/config-*`.

use std::collections::BTreeMap;

/// How options begin.
pub(super) const PREFIX: &str = "CONFIG_";

/// A kernel's configuration, and the kernel's version, which stands in its first lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    values: BTreeMap<String, String>,
    version: Option<[u8; 3]>,
}

impl KernelConfig {
    /// Reads the text of a configuration.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let options = lines.filter(|(name, _)| name.starts_with(PREFIX));
        let mut values = BTreeMap::new();
        for (name, value) in options {
            values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        Self { values, version: text.lines().take_while(|line| !line.starts_with(PREFIX)).find_map(version) }
    }

    /// What an option is set to, as it stands there.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The version of the kernel, if its first lines say it.
    pub fn version(&self) -> Option<[u8; 3]> {
        self.version
    }
}

/// The version in a line such as `# Linux/x86 6.18.44 Kernel Configuration`. Later parts than these may be larger than a byte holds;
/// the kernel then says 255 (`KERNEL_VERSION`).
fn version(line: &str) -> Option<[u8; 3]> {
    let mut words = line.strip_prefix("# Linux/")?.split(' ');
    let version = words.nth(1)?;
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let mut parts = version.split('.').map(|part| digits(part).map(|number| number.min(255) as u8));
    Some([parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_the_version_are_read() {
        let text = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.12.300-rc1 Kernel Configuration\n#\n\
                    CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x=y\"\nOTHER=1\nCONFIG_A=n\n";
        let config = KernelConfig::parse(text);
        assert_eq!(config.version(), Some([6, 12, 255]));
        assert_eq!((config.value("CONFIG_A"), config.value("CONFIG_C")), (Some("y"), Some("\"x=y\"")));
        assert_eq!((config.value("CONFIG_B"), config.value("OTHER")), (None, None));
        assert_eq!(KernelConfig::parse("CONFIG_A=y\n# Linux/x86 6.1.0 Kernel Configuration").version(), None);
        assert_eq!(version("# Linux/arm64 6.1 Kernel Configuration"), Some([6, 1, 0]));
    }
}
