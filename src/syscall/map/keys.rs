//! The walk over a map's keys.

use std::collections::HashSet;

use super::Map;
use crate::syscall::errno::Errno;
use crate::syscall::error::{Error, Operation, Result};
use crate::syscall::sys::{self, Command};

/// Iterator over the keys of a map; see [`Map::keys`].
///
/// BPF_MAP_GET_NEXT_KEY starts again at the first key when the one it is given has gone. Keys seen before are skipped,
/// and the number of steps is bounded, so that a map that changes faster than it can be read ends in an error and not
/// in an endless walk.
#[derive(Debug)]
pub struct Keys<'a> {
    map: &'a Map,
    last: Option<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
    steps_left: u64,
    done: bool,
}

/// Restarts that a walk allows for, in whole walks.
const WALKS: u64 = 8;

impl<'a> Keys<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        let steps_left = (u64::from(map.max_entries()) + 1) * WALKS;
        Self { map, last: None, seen: HashSet::new(), steps_left, done: false }
    }

    fn step(&mut self) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.map.key_size()];
        let mut attr = self.map.elem();
        attr.key = self.last.as_deref().map_or(0, sys::address);
        attr.value = sys::address_mut(&mut next);
        // SAFETY: the key is NULL or a key of the map's key size, `next` has room for one more; both live through the
        // call.
        match unsafe { sys::bpf(Command::MapGetNextKey, &mut attr) } {
            Ok(_) => Ok(Some(next)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::call(Operation::MapNextKey, self.map.describe(), errno)),
        }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            if self.steps_left == 0 {
                self.done = true;
                return Some(Err(Error::Invalid(format!(
                    "{} changes faster than its keys can be read; stop its writers or try again",
                    self.map.describe()
                ))));
            }
            self.steps_left -= 1;
            match self.step() {
                Ok(Some(key)) => {
                    self.last = Some(key.clone());
                    if self.seen.insert(key.clone()) {
                        return Some(Ok(key));
                    }
                }
                Ok(None) => self.done = true,
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
