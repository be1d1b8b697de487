//! The byte order of BTF, by its magic number.

use super::MAGIC;

/// Little or big endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// The order in which these two bytes are the magic number.
    pub(super) fn of_magic(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            _ if u16::from_le_bytes(bytes) == MAGIC => Some(Self::Little),
            _ if u16::from_be_bytes(bytes) == MAGIC => Some(Self::Big),
            _ => None,
        }
    }

    pub(super) fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}
