//! What a relocation does to its instruction: the value before and after, by all types of the kernel that may be meant.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::compatible::Pair;
use super::fault::Fault;
use super::kind::{Kind, Subject};
use super::path::{self, Path, cut, skip};
use super::records::Record;
use super::value::{self, Value};
use super::work::Work;
use super::{counterpart, matches};
use crate::btf::{Btf, Integer};
use crate::verifier_sim::types::KernelTypes;
use crate::verifier_sim::types::names::essential;

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// What the compiler has put there, if that is known.
    pub(super) expected: Option<u64>,
    /// What comes there; `None` if the kernel does not have anything that corresponds, and no value says so.
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
    candidates: BTreeMap<u32, Rc<[u32]>>,
    work: Work,
}

/// What a relocation refers to, by the object's BTF.
enum Local {
    Field(Path),
    Type,
    /// The name of a value, and the value.
    Value(u32, u64),
}

impl Local {
    /// What the access string leads to.
    fn of(btf: &Btf, record: &Record, kind: Kind) -> Result<Self, Fault> {
        let numbers = path::numbers(btf.short_string(record.access).unwrap_or_default())?;
        if record.type_id > btf.type_count() {
            return Err(Fault::refused("it refers to a type that is missing"));
        }
        match kind.subject() {
            Subject::Field => Ok(Self::Field(path::follow(btf, record.type_id, &numbers)?)),
            Subject::Type if numbers == [0] => Ok(Self::Type),
            Subject::Type => Err(Fault::refused("it refers to a type, and has an access string other than \"0\"")),
            Subject::Value => {
                let head = btf.head(skip(btf, record.type_id)?);
                let value = match (head, numbers.as_slice()) {
                    (Some(head), &[index]) => btf.enumerator_of(head, index as usize),
                    _ => None,
                };
                let value = value.ok_or_else(|| Fault::refused("it refers to a value that is missing"))?;
                Ok(Self::Value(value.name, value.value))
            }
        }
    }
}

/// What a relocation asks, in words: its kind, and the type with the field or value.
pub(super) fn describe(btf: &Btf, record: &Record) -> String {
    let Some(kind) = Kind::from_number(record.kind) else { return format!("relocation of kind {}", record.kind) };
    let root = record.type_id;
    let text = match Local::of(btf, record, kind) {
        Ok(Local::Field(path)) => path::describe(btf, root, &path),
        Ok(Local::Type) => path::describe_type(btf, root),
        Ok(Local::Value(name, _)) => format!("{} of {}", path::name(btf, name), path::describe_type(btf, root)),
        Err(_) => format!("type {root}"),
    };
    cut(format!("{} of {text}", kind.name()))
}

impl<'a> Decider<'a> {
    pub(super) fn new(local: &'a Btf, kernel: Option<&'a KernelTypes>) -> Self {
        Self { local, kernel, candidates: BTreeMap::new(), work: Work::new() }
    }

    /// What the relocation does.
    pub(super) fn decide(&mut self, record: &Record) -> Result<Decision, Fault> {
        let access = self.local.short_string(record.access).unwrap_or_default();
        // One for the relocation and one for each step, which has a character at least.
        self.work.take(1 + access.len())?;
        let kind = Kind::from_number(record.kind).ok_or_else(|| Fault::refused("its kind is not known"))?;
        let local = Local::of(self.local, record, kind)?;
        self.by_candidates(record.type_id, kind, &local)
    }

    /// How many comparisons may still be made.
    #[cfg(test)]
    pub(super) fn left(&self) -> u32 {
        self.work.left()
    }

    /// All candidates that have a counterpart must lead to the same.
    fn by_candidates(&mut self, root: u32, kind: Kind, local: &Local) -> Result<Decision, Fault> {
        if kind == Kind::TypeIdLocal {
            return Ok(Decision { expected: None, number: Some(root.into()), resize: None });
        }
        let types = self.kernel.ok_or(Fault::NeedsTypes)?;
        let mut found: Option<(Decision, u32)> = None;
        let mut fitting = Vec::new();
        for &candidate in self.candidates(root, types)?.iter() {
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
                        "it is ambiguous: several types of the kernel have this name, which lead to {} and to {}; ask only for what they all have in one place",
                        show(other.number),
                        show(decision.number)
                    )));
                }
            }
            fitting.push(candidate);
        }
        match found {
            Some((decision, _)) => {
                self.candidates.insert(root, fitting.into());
                Ok(decision)
            }
            None => without_counterpart(self.local, (root, kind), local),
        }
    }

    /// The kernel's types with the same name and kind, whatever their variants.
    fn candidates(&mut self, root: u32, types: &KernelTypes) -> Result<Rc<[u32]>, Fault> {
        let slot = match self.candidates.entry(root) {
            Entry::Occupied(known) => return Ok(known.get().clone()),
            Entry::Vacant(slot) => slot,
        };
        let name = self.local.short_name(root).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Fault::refused("it refers to a type without a name"))?;
        let head = self.local.head(root);
        let name = essential(name);
        let mut all = Vec::new();
        for candidate in types.alike(name) {
            let theirs = types.btf().short_name(candidate);
            self.work.compare_name(theirs)?;
            if theirs.map(essential) != Some(name) {
                continue;
            }
            let theirs = types.btf().head(candidate);
            let same = head.zip(theirs).is_some_and(|(ours, theirs)| {
                ours.kind == theirs.kind || ours.is_enumeration() && theirs.is_enumeration()
            });
            if same {
                all.push(candidate);
            }
        }
        Ok(slot.insert(all.into()).clone())
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
