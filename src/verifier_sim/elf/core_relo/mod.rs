//! CO-RE relocations (`.BTF.ext`): the loader, libbpf, puts into instructions what only the kernel's types say, such as where a field
//! lies (Documentation/bpf/llvm_reloc.rst, "CO-RE Relocations").
//!
//! - `records`, `kind`: what the object asks for.
//! - `path`: the way to a field in the object's own types. `counterpart`: the same in the kernel's, by `compatible` and `matches`.
//! - `value`, `decision`: what comes into the instruction. `patch`: putting it there.
//!
//! What the kernel does not have is not a fault: the instruction becomes a call that no kernel takes, and the program is accepted if
//! that call cannot be reached.

mod compatible;
mod counterpart;
mod decision;
mod fault;
mod kind;
mod matches;
mod patch;
mod path;
mod records;
#[cfg(test)]
mod tests;
mod value;
mod work;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use self::compatible::Pair;
use self::decision::{Decider, describe};
use self::fault::Fault;
use self::patch::Patched;
use self::records::Record;
use self::work::Work;
use super::error::ElfError;
use crate::asm::Insn;
use crate::btf::Btf;
use crate::verifier_sim::types::KernelTypes;

/// What became of a program's CO-RE relocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreRelocations {
    /// How many instructions have their value.
    pub applied: usize,
    /// The others, 1,000 at most: the kernel's types do not have anything that corresponds, and the program must not reach them.
    pub unresolved: Vec<Unresolved>,
    /// How many there are besides these.
    pub unlisted: usize,
}

/// Most relocations without a counterpart that are listed for one program.
const MAX_LISTED: usize = 1000;

/// Most reasons of one object that are kept in words of their own.
const MAX_REASONS: usize = 1000;

/// A CO-RE relocation without a counterpart in the kernel's types.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unresolved {
    /// The slot of the linked program.
    pub insn: usize,
    /// What was asked: the kind of the relocation, and the type with the field or value.
    pub what: String,
}

/// What became of one relocation. It is put into words only for a program that has the instruction.
#[derive(Debug)]
enum Outcome {
    Applied,
    Unresolved,
    Failed(Fault),
}

/// The relocations of an object, by section and slot.
#[derive(Debug, Default)]
pub(super) struct Relocated(BTreeMap<(usize, usize), (Record, Outcome)>);

impl Relocated {
    /// Applies the relocations that `.BTF.ext` lists to the code of the sections, which are given by name. A relocation that
    /// cannot be applied concerns only the programs that have its instruction.
    pub(super) fn apply(
        ext: &[u8],
        btf: &Btf,
        types: Option<&KernelTypes>,
        sections: &mut BTreeMap<String, (usize, &mut Vec<Insn>)>,
    ) -> Result<Self, ElfError> {
        let records = records::read(ext).map_err(ElfError::Ext)?;
        let mut decider = Decider::new(btf, types);
        let (mut all, mut reasons) = (BTreeMap::new(), 0);
        for record in records {
            let name = String::from_utf8_lossy(btf.short_string(record.section).unwrap_or_default());
            // Linkers leave relocations of functions that they have dropped.
            let Some((section, insns)) = sections.get_mut(name.as_ref()) else { continue };
            let slot = record.offset as usize / Insn::SIZE;
            if slot >= insns.len() {
                continue;
            }
            let patched = decider.decide(&record).and_then(|decision| match record.offset as usize % Insn::SIZE {
                0 => patch::apply(insns, slot, &decision),
                _ => Err(Fault::refused("it points into the middle of an instruction")),
            });
            let outcome = match patched {
                Ok(Patched::Applied) => Outcome::Applied,
                Ok(Patched::Poisoned) => Outcome::Unresolved,
                Err(Fault::Refused(Cow::Owned(_))) if reasons == MAX_REASONS => Outcome::Failed(Fault::refused(
                    "the reason is not kept, since 1,000 others of this object cannot be applied; correct those first",
                )),
                Err(fault) => {
                    reasons += usize::from(matches!(fault, Fault::Refused(Cow::Owned(_))));
                    Outcome::Failed(fault)
                }
            };
            // The first failure is what the loader reports.
            match all.entry((*section, slot)) {
                Entry::Vacant(free) => _ = free.insert((record, outcome)),
                Entry::Occupied(known) if matches!(known.get(), (_, Outcome::Failed(_))) => {}
                Entry::Occupied(mut known) => _ = known.insert((record, outcome)),
            }
        }
        Ok(Self(all))
    }

    /// Adds what became of the relocations in a part of a section, of which the first slot is slot `at` of the program.
    pub(super) fn count(
        &self,
        btf: &Btf,
        section: usize,
        part: Range<usize>,
        at: usize,
        count: &mut CoreRelocations,
    ) -> Result<(), ElfError> {
        for (&(_, slot), (record, outcome)) in self.0.range((section, part.start)..(section, part.end)) {
            match outcome {
                Outcome::Applied => count.applied += 1,
                Outcome::Unresolved if count.unresolved.len() == MAX_LISTED => count.unlisted += 1,
                Outcome::Unresolved => {
                    let insn = at + slot - part.start;
                    count.unresolved.push(Unresolved { insn, what: describe(btf, record) });
                }
                Outcome::Failed(fault) => return Err(relocation_error(btf, record, fault)),
            }
        }
        Ok(())
    }
}

/// Whether a function or variable of the kernel has the type `kernel`, where the object declares it with the type `local`
/// (`bpf_core_types_are_compat`). Types that are nested too deeply are not the same.
pub(super) fn are_compatible(own: &Btf, local: u32, types: &KernelTypes, kernel: u32) -> bool {
    let mut pair = Pair { local: own, kernel: types.btf(), work: &mut Work::new() };
    pair.types(local, kernel).unwrap_or(false)
}

fn relocation_error(btf: &Btf, record: &Record, fault: &Fault) -> ElfError {
    let what = describe(btf, record);
    match fault {
        Fault::NeedsTypes => ElfError::CoreNeedsTypes(what),
        Fault::Refused(why) => {
            let section = String::from_utf8_lossy(btf.short_string(record.section).unwrap_or_default()).into_owned();
            ElfError::CoreRelocation { section, offset: record.offset, what, why: why.clone().into_owned() }
        }
    }
}
