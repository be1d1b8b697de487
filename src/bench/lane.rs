//! A variant of a cell while it is measured.

use super::cell::Variant;
use super::error::{Error, Result};
use super::pair::Pair;
use super::results::Pinned;

/// A variant, its pair as long as it works, and what its pairs have carried.
pub(super) struct Lane {
    pub(super) variant: Variant,
    pair: Option<Pair>,
    /// Why it cannot be measured.
    pub(super) failed: Option<String>,
    /// Bytes that the pairs that have ended wrote, and how many of them TCP carried.
    pub(super) written: u64,
    pub(super) by_stack: u64,
    /// What each of them has left in the kernel's memory.
    pub(super) pinned: Vec<Pinned>,
}

impl Lane {
    pub(super) fn new(variant: Variant) -> Self {
        Self { variant, pair: None, failed: None, written: 0, by_stack: 0, pinned: Vec::new() }
    }

    /// Begins with a new pair; one that has failed stays without.
    pub(super) fn begin(&mut self, pair: impl FnOnce() -> Result<Pair>) -> Result<()> {
        if self.failed.is_none() {
            self.pair = self.keep(pair())?;
        }
        Ok(())
    }

    /// Ends the pair. With `pinned`, first fills what its receiver does not read, in writes of this size.
    pub(super) fn end(&mut self, pinned: Option<usize>) -> Result<()> {
        if let Some((written, by_stack)) = self.run(Pair::finish)? {
            self.written += written;
            self.by_stack += by_stack;
        }
        if let Some(size) = pinned {
            let left = self.run(|pair| pair.pinned(size))?;
            self.pinned.extend(left);
        }
        self.pair = None;
        Ok(())
    }

    /// Does something with the pair; nothing where it has failed.
    pub(super) fn run<T>(&mut self, what: impl FnOnce(&mut Pair) -> Result<T>) -> Result<Option<T>> {
        let Some(pair) = &mut self.pair else { return Ok(None) };
        let done = what(pair);
        self.keep(done)
    }

    /// Ungated redirection may fail, and then its row says why: nothing bounds the memory that it takes. Any other failure is
    /// the benchmark's.
    fn keep<T>(&mut self, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Error::Worker { end, why, .. }) if self.variant == Variant::Ungated => {
                self.pair = None;
                self.failed = Some(format!("its {end} failed: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
