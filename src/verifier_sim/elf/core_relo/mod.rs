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

use std::collections::BTreeMap;
use std::ops::Range;

use self::compatible::Pair;
use self::decision::Decider;
use self::fault::Fault;
use self::patch::Patched;
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
    /// The others: the kernel's types have nothing that corresponds, and the program must not reach them.
    pub unresolved: Vec<Unresolved>,
}

/// A CO-RE relocation to which nothing in the kernel's types corresponds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unresolved {
    /// The slot of the linked program.
    pub insn: usize,
    /// What was asked: the kind of the relocation, and the type with the field or value.
    pub what: String,
}

/// What became of one relocation.
#[derive(Debug)]
enum Outcome {
    Applied,
    Unresolved(String),
    Failed(ElfError),
}

/// The relocations of an object, by section and slot.
#[derive(Debug, Default)]
pub(super) struct Relocated(BTreeMap<(usize, usize), Outcome>);

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
        let mut all = BTreeMap::new();
        for record in records {
            let name = String::from_utf8_lossy(btf.short_string(record.section).unwrap_or_default());
            // Linkers leave relocations of functions that they have dropped.
            let Some((section, insns)) = sections.get_mut(name.as_ref()) else { continue };
            let slot = record.offset as usize / Insn::SIZE;
            if slot >= insns.len() {
                continue;
            }
            let (decision, what) = decider.decide(&record);
            let patched = decision.and_then(|decision| match record.offset as usize % Insn::SIZE {
                0 => patch::apply(insns, slot, &decision),
                _ => Err(Fault::refused("it points into the middle of an instruction")),
            });
            let outcome = match patched {
                Ok(Patched::Applied) => Outcome::Applied,
                Ok(Patched::Poisoned) => Outcome::Unresolved(what),
                Err(fault) => Outcome::Failed(relocation_error(&name, record.offset, what, fault)),
            };
            // The first failure is what the loader reports.
            let known = all.entry((*section, slot)).or_insert(Outcome::Applied);
            if !matches!(known, Outcome::Failed(_)) {
                *known = outcome;
            }
        }
        Ok(Self(all))
    }

    /// Adds what became of the relocations in a part of a section, of which the first slot is slot `at` of the program.
    pub(super) fn count(
        &self,
        section: usize,
        part: Range<usize>,
        at: usize,
        count: &mut CoreRelocations,
    ) -> Result<(), ElfError> {
        for (&(_, slot), outcome) in self.0.range((section, part.start)..(section, part.end)) {
            match outcome {
                Outcome::Applied => count.applied += 1,
                Outcome::Unresolved(what) => {
                    count.unresolved.push(Unresolved { insn: at + slot - part.start, what: what.clone() });
                }
                Outcome::Failed(error) => return Err(error.clone()),
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

fn relocation_error(section: &str, offset: u32, what: String, fault: Fault) -> ElfError {
    match fault {
        Fault::NeedsTypes => ElfError::CoreNeedsTypes(what),
        Fault::Refused(why) => {
            ElfError::CoreRelocation { section: section.to_owned(), offset, what, why: why.into_owned() }
        }
    }
}
