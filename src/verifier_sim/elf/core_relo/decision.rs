//! What a relocation does to its instruction: the value before and after, by all types of the kernel that may be meant.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::compatible::Pair;
use super::fault::Fault;
use super::kind::{Kind, Subject};
use super::path::{self, Path, skip};
use super::records::Record;
use super::value::{self, Value};
use super::work::Work;
use super::{counterpart, matches};
use crate::btf::{Btf, Integer};
use crate::verifier_sim::types::KernelTypes;

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// What the compiler has put there, if that is known.
    pub(super) expected: Option<u64>,
    /// What comes there; `None` if the kernel has nothing that corresponds, and there is no value for that.
    pub(super) number: Option<u64>,
    /// The field's bytes before and after, if a load or store changes its size.
    pub(super) resize: Option<Resize>,
}

/// The sizes of a field that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resize {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Whether a load of another size yields the same number.
    pub(super) is_sound: bool,
}

/// Finds out what relocations of one object do.
pub(super) struct Decider<'a> {
    local: &'a Btf,
    kernel: Option<&'a KernelTypes>,
    /// The types of the kernel that a type of the object may mean. Those that a relocation rules out are not asked again.
    candidates: BTreeMap<u32, Vec<u32>>,
    work: Work,
}

/// What a relocation refers to, by the object's BTF.
enum Local {
    Field(Path),
    Type,
    /// The name of a value, and the value.
    Value(u32, u64),
}

impl<'a> Decider<'a> {
    pub(super) fn new(local: &'a Btf, kernel: Option<&'a KernelTypes>) -> Self {
        Self { local, kernel, candidates: BTreeMap::new(), work: Work::new() }
    }

    /// What the relocation does, and what it refers to in words.
    pub(super) fn decide(&mut self, record: &Record) -> (Result<Decision, Fault>, String) {
        let unknown = || (Err(Fault::refused("it is of no known kind")), format!("relocation of kind {}", record.kind));
        let Some(kind) = Kind::from_number(record.kind) else { return unknown() };
        match self.local(record, kind) {
            Ok(local) => {
                let text = match &local {
                    Local::Field(path) => path::describe(self.local, record.type_id, path),
                    Local::Type => path::describe_type(self.local, record.type_id),
                    Local::Value(name, _) => {
                        let name = String::from_utf8_lossy(self.local.short_string(*name).unwrap_or_default());
                        format!("{name} of {}", path::describe_type(self.local, record.type_id))
                    }
                };
                (self.by_candidates(record.type_id, kind, &local), format!("{} of {text}", kind.name()))
            }
            Err(fault) => (Err(fault), format!("{} of type {}", kind.name(), record.type_id)),
        }
    }

    /// What the access string leads to.
    fn local(&self, record: &Record, kind: Kind) -> Result<Local, Fault> {
        let access = self.local.short_string(record.access).unwrap_or_default();
        let numbers = path::numbers(access)?;
        if record.type_id > self.local.type_count() {
            return Err(Fault::refused("it refers to a type that is missing"));
        }
        match kind.subject() {
            Subject::Field => Ok(Local::Field(path::follow(self.local, record.type_id, &numbers)?)),
            Subject::Type if numbers == [0] => Ok(Local::Type),
            Subject::Type => Err(Fault::refused("it refers to a type, and has an access string other than \"0\"")),
            Subject::Value => {
                let head = self.local.head(skip(self.local, record.type_id)?);
                let value = match (head, numbers.as_slice()) {
                    (Some(head), &[index]) => self.local.enumerator_of(head, index as usize),
                    _ => None,
                };
                let value = value.ok_or_else(|| Fault::refused("it refers to a value that is missing"))?;
                Ok(Local::Value(value.name, value.value))
            }
        }
    }

    /// All candidates that have a counterpart must lead to the same.
    fn by_candidates(&mut self, root: u32, kind: Kind, local: &Local) -> Result<Decision, Fault> {
        if kind == Kind::TypeIdLocal {
            return Ok(Decision { expected: None, number: Some(root.into()), resize: None });
        }
        let types = self.kernel.ok_or(Fault::NeedsTypes)?;
        let mut found: Option<(Decision, u32)> = None;
        let mut fitting = Vec::new();
        for candidate in self.candidates(root, types)? {
            self.work.compare(0)?;
            let mut pair = Pair { local: self.local, kernel: types.btf(), work: &mut self.work };
            let Some((decision, bit_offset)) = by_candidate(&mut pair, (root, candidate), kind, local)? else {
                continue;
            };
            match found {
                None => found = Some((decision, bit_offset)),
                Some((other, other_offset)) if (decision.number, bit_offset) == (other.number, other_offset) => {}
                Some((other, _)) => {
                    let show =
                        |number: Option<u64>| number.map_or_else(|| "nothing".into(), |number| number.to_string());
                    return Err(Fault::refused(format!(
                        "it is ambiguous: several types of the kernel have this name, which lead to {} and to {}",
                        show(other.number),
                        show(decision.number)
                    )));
                }
            }
            fitting.push(candidate);
        }
        match found {
            Some((decision, _)) => {
                self.candidates.insert(root, fitting);
                Ok(decision)
            }
            None => without_counterpart(self.local, (root, kind), local),
        }
    }

    /// The kernel's types with the same name and kind, whatever their variants.
    fn candidates(&mut self, root: u32, types: &KernelTypes) -> Result<Vec<u32>, Fault> {
        let slot = match self.candidates.entry(root) {
            Entry::Occupied(known) => return Ok(known.get().clone()),
            Entry::Vacant(slot) => slot,
        };
        let name = self.local.short_name(root).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Fault::refused("it refers to a type without a name"))?;
        let head = self.local.head(root);
        let mut all = Vec::new();
        for candidate in types.variants(name) {
            self.work.compare(name.len())?;
            let theirs = types.btf().head(candidate);
            let same = head.zip(theirs).is_some_and(|(ours, theirs)| {
                ours.kind == theirs.kind || ours.is_enumeration() && theirs.is_enumeration()
            });
            if same {
                all.push(candidate);
            }
        }
        Ok(slot.insert(all).clone())
    }
}

/// What the relocation does by one candidate, and how far the way to the field leads there; `None` without a counterpart.
fn by_candidate(
    pair: &mut Pair<'_>,
    (root, candidate): (u32, u32),
    kind: Kind,
    local: &Local,
) -> Result<Option<(Decision, u32)>, Fault> {
    let whole = |expected: Option<u64>, number| Decision { expected, number: Some(number), resize: None };
    Ok(match local {
        Local::Field(path) => {
            let Some(theirs) = counterpart::path(pair, path, candidate)? else { return Ok(None) };
            let decision = match kind {
                Kind::FieldExists => whole(Some(1), 1),
                _ => {
                    let before = value::of_field(pair.local, path, kind)?;
                    of_fields(pair, before, value::of_field(pair.kernel, &theirs, kind)?)
                }
            };
            Some((decision, theirs.bit_offset))
        }
        Local::Type => {
            let fits = match kind {
                Kind::TypeMatches => matches::types(pair, root, candidate)?,
                _ => pair.types(root, candidate)?,
            };
            if !fits {
                return Ok(None);
            }
            let decision = match kind {
                // Linking objects changes the numbers of their types, so the compiler's is not compared.
                Kind::TypeIdTarget => whole(None, candidate.into()),
                Kind::TypeSize => {
                    let [before, after] = [(pair.local, root), (pair.kernel, candidate)].map(|(btf, id)| {
                        let size = btf.size_of(id).ok_or_else(|| Fault::refused("the type has no size"));
                        size.map(u64::from)
                    });
                    whole(Some(before?), after?)
                }
                _ => whole(Some(1), 1),
            };
            Some((decision, 0))
        }
        Local::Value(name, value) => {
            let expected = if kind == Kind::EnumvalExists { 1 } else { *value };
            let theirs = counterpart::enumerator(pair, *name, candidate)?;
            let number = theirs.map(|theirs| if kind == Kind::EnumvalExists { 1 } else { theirs });
            number.map(|number| (whole(Some(expected), number), 0))
        }
    })
}

fn of_fields(pair: &Pair<'_>, before: Value, after: Value) -> Decision {
    let resize = (before.size != after.size).then(|| {
        // A pointer and an unsigned integer are filled up with zeros, so that a load of another size yields the same.
        let [ours, theirs] = [(pair.local, before.type_id), (pair.kernel, after.type_id)].map(|(btf, id)| {
            let head = btf.head(id)?;
            let is_unsigned = btf.integer(head).map(|integer| !is_plainly_signed(integer));
            Some((head.kind, is_unsigned))
        });
        let is_sound = ours.zip(theirs).is_some_and(|((kind, ours), (other, theirs))| {
            kind == other && kind == crate::btf::Kind::Ptr || ours == Some(true) && theirs == Some(true)
        });
        Resize { from: before.size, to: after.size, is_sound }
    });
    Decision { expected: before.is_exact.then_some(before.number), number: Some(after.number), resize }
}

/// Signed, and neither a character nor a truth value.
fn is_plainly_signed(integer: Integer) -> bool {
    integer.encoding == 1
}

/// What the relocation does when the kernel has nothing that corresponds.
fn without_counterpart(local: &Btf, (root, kind): (u32, Kind), subject: &Local) -> Result<Decision, Fault> {
    let size = || local.size_of(root).ok_or_else(|| Fault::refused("the type has no size"));
    let (expected, number) = match (kind, subject) {
        (Kind::FieldExists | Kind::TypeExists | Kind::TypeMatches | Kind::EnumvalExists, _) => (Some(1), Some(0)),
        (Kind::TypeIdTarget, _) => (None, Some(0)),
        (Kind::TypeSize, _) => (Some(size()?.into()), Some(0)),
        (_, Local::Field(path)) => {
            // What the loader cannot compute from the object's own types it refuses all the same.
            let before = value::of_field(local, path, kind)?;
            (before.is_exact.then_some(before.number), None)
        }
        (_, Local::Value(_, value)) => (Some(*value), None),
        (_, Local::Type) => (None, None),
    };
    Ok(Decision { expected, number, resize: None })
}
