//! The kernel releases between which the tables differ.

use std::fmt;
use std::str::FromStr;

/// The kernel releases whose rules the tables state. They are ordered: a newer one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// Linux 5.10.
    V5_10,
    /// Linux 6.1.
    V6_1,
    /// Linux 6.12.
    V6_12,
    /// Linux 6.18.
    #[default]
    V6_18,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V6_18];

    /// The release as `major.minor`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_18 => "6.18",
        }
    }

    /// Its major and minor version.
    pub fn version(self) -> (u8, u8) {
        match self {
            Self::V5_10 => (5, 10),
            Self::V6_1 => (6, 1),
            Self::V6_12 => (6, 12),
            Self::V6_18 => (6, 18),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A kernel release that the tables do not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulator has no rules for kernel {0:?}; choose one of 5.10, 6.1, 6.12, 6.18")]
pub struct UnknownKernel(pub String);

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == text).ok_or_else(|| UnknownKernel(text.to_owned()))
    }
}
