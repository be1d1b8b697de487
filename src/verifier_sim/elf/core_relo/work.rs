//! A bound for the work on one object: in a crafted file types can contain themselves, or have millions of members.

use super::fault::Fault;

/// Most comparisons of members, values and types for one object. An object of the kernel's selftests needs less than a
/// hundred thousand.
const MOST: u32 = 1 << 24;

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
        let cost = u32::try_from(1 + name / 32).unwrap_or(u32::MAX);
        let enough = self.0.checked_sub(cost);
        self.0 = enough.ok_or_else(|| Fault::refused("the relocations of this object take too long"))?;
        Ok(())
    }
}
