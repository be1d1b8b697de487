//! What in the kernel's types corresponds to what a relocation refers to in the object's.

use super::compatible::Pair;
use super::fault::Fault;
use super::path::{MAX_STEPS, Path, Step, skip};

/// The way in the kernel's type `root` that corresponds to `local`, if there is one: through members with the same names, wherever
/// they lie, and the same elements of arrays.
pub(super) fn path(pair: &mut Pair<'_>, local: &Path, root: u32) -> Result<Option<Path>, Fault> {
    let mut search = Search { pair, path: Path::default(), passed: 0 };
    let mut id = root;
    for (at, &step) in local.steps.iter().enumerate() {
        id = skip(search.pair.kernel, id)?;
        let next = match step {
            Step::Element { index, .. } => search.element(id, index, at == 0)?,
            Step::Member { of, index } => {
                let local = search.pair.local;
                let ours = local.head(of).and_then(|head| local.member_of(head, index as usize));
                let name = ours.and_then(|ours| local.short_string(ours.name));
                search.pair.work.compare_name(name)?;
                // No kernel has a member with a longer name than is read.
                match ours.zip(name) {
                    Some((ours, name)) => search.member((name, ours.type_id), id)?,
                    None => None,
                }
            }
        };
        match next {
            Some(next) => id = next,
            None => return Ok(None),
        }
    }
    Ok(Some(search.path))
}

struct Search<'p, 'a> {
    pair: &'p mut Pair<'a>,
    path: Path,
    /// Steps so far, with those through what has no name.
    passed: usize,
}

impl Search<'_, '_> {
    fn pass(&mut self) -> Result<(), Fault> {
        if self.passed == MAX_STEPS {
            return Err(Fault::refused("the kernel's types are nested too deeply"));
        }
        self.passed += 1;
        Ok(())
    }

    /// Goes on to an element of the type `id`, which is an array; the whole is an element already.
    fn element(&mut self, id: u32, index: u32, whole: bool) -> Result<Option<u32>, Fault> {
        let kernel = self.pair.kernel;
        self.pair.work.compare(0)?;
        let mut id = id;
        if !whole {
            let Some(array) = kernel.head(id).and_then(|head| kernel.array(head)) else { return Ok(None) };
            if !self.path.has_element(kernel, array, index) {
                return Ok(None);
            }
            id = skip(kernel, array.element)?;
        }
        self.pass()?;
        self.path.element(kernel, id, index)?;
        Ok(Some(id))
    }

    /// Goes on to the member with this name, which has this type in the object; returns its type in the kernel.
    fn member(&mut self, wanted: (&[u8], u32), id: u32) -> Result<Option<u32>, Fault> {
        let kernel = self.pair.kernel;
        let (name, of) = wanted;
        let id = skip(kernel, id)?;
        let Some(head) = kernel.head(id) else { return Ok(None) };
        for (at, theirs) in kernel.members(head).enumerate() {
            self.pair.work.compare(0)?;
            let is_named = kernel.is_named(theirs.name);
            if is_named && !kernel.is_string(theirs.name, name) {
                continue;
            }
            let before = (self.path.bit_offset, self.passed);
            self.pass()?;
            self.path.advance(Some(theirs.bit_offset))?;
            if !is_named {
                if let Some(found) = self.member(wanted, theirs.type_id)? {
                    return Ok(Some(found));
                }
                (self.path.bit_offset, self.passed) = before;
                continue;
            }
            self.path.steps.push(Step::Member { of: id, index: at as u32 });
            // A member of this name and of another type ends the search here; another one of the name would be elsewhere.
            let compatible = self.pair.fields(of, theirs.type_id)?;
            if !compatible {
                self.path.steps.pop();
                (self.path.bit_offset, self.passed) = before;
            }
            return Ok(compatible.then_some(theirs.type_id));
        }
        Ok(None)
    }
}

/// The value in the kernel's enumeration `root` with the name at `local` in the object's BTF, whatever its variant.
pub(super) fn enumerator(pair: &mut Pair<'_>, local: u32, root: u32) -> Result<Option<u64>, Fault> {
    let kernel = pair.kernel;
    let Some(head) = kernel.head(skip(kernel, root)?) else { return Ok(None) };
    let name = pair.own_name(local)?;
    for value in kernel.enumerators(head) {
        if pair.is_name(name, value.name)? {
            return Ok(Some(value.value));
        }
    }
    Ok(None)
}
