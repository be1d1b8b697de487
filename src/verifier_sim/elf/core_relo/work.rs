//! A bound for the work on one object: in a crafted file types can contain themselves, or have millions of members.

use super::fault::Fault;
use crate::btf::MAX_NAME;

/// Most comparisons of members, values and types for one object. An object of the kernel's selftests needs less than a
/// hundred thousand.
pub(super) const MOST: u32 = 1 << 24;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Work(u32);

impl Work {
    pub(super) fn new() -> Self {
        Self(MOST)
    }

    /// One comparison, of a name of that many bytes.
    pub(super) fn compare(&mut self, name: usize) -> Result<(), Fault> {
        // A name of 32 bytes takes about as long as the rest of a comparison.
        self.take(1 + name / 32)
    }

    /// The same, of a name that may be longer than any that the kernel takes: then it is read so far.
    pub(super) fn compare_name(&mut self, name: Option<&[u8]>) -> Result<(), Fault> {
        self.compare(name.map_or(MAX_NAME, <[u8]>::len))
    }

    /// As much as that many comparisons. If not so much is left, nothing is: the other relocations of the object fail at once.
    pub(super) fn take(&mut self, comparisons: usize) -> Result<(), Fault> {
        let left = u32::try_from(comparisons).ok().and_then(|comparisons| self.0.checked_sub(comparisons));
        self.0 = left.unwrap_or(0);
        left.map(|_| ()).ok_or_else(|| {
            Fault::refused(
                "the relocations of this object take too long, more than 16,777,216 comparisons; link fewer programs into one object",
            )
        })
    }

    /// How much is left.
    #[cfg(test)]
    pub(super) fn left(&self) -> u32 {
        self.0
    }
}
