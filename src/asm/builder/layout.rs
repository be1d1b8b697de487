//! From items to slots: label addresses, relaxation of jumps that do not reach, feature check.
//!
//! Every jump starts in its short form. Whatever does not reach its label is given the long form, which moves everything
//! behind it, so the round is repeated until nothing changes. Forms only ever grow: the rounds end. Where the long form
//! is not allowed, [`islands`] have made every jump reach before.
//!
//! ```text
//! short                       long, with the feature GOTOL
//! goto L                      gotol L
//! if a cond b goto L          if a !cond b goto +1;  gotol L
//! if a & b goto L, may_goto L if a & b goto +1;  goto +1;  gotol L      (no inverse exists)
//! ```

use super::{Asm, Item, Label, Place, contract, islands};
use crate::asm::opcode as op;
use crate::asm::{Check, Cond, Error, Features, Insn, Program};

pub(super) fn finish(mut asm: Asm) -> Result<Program, Error> {
    if let Some(mistake) = asm.mistakes.first() {
        return Err(mistake.clone());
    }
    contract::check(&asm, &targets(&asm)?)?;
    if !asm.features.contains(Features::GOTOL) {
        islands::insert(&mut asm)?;
    }
    let targets = targets(&asm)?;
    let (long, starts) = relax(&asm, &targets);
    let program = emit(asm, &targets, &long, &starts);
    program.1.map_or(Ok(program.0), Err)
}

/// For each item the index of the item that it refers to, checked to be one.
pub(super) fn targets(asm: &Asm) -> Result<Vec<Option<usize>>, Error> {
    let target = |(item, at): &(Item, Place)| {
        let (Item::Jump(_, label) | Item::Call(_, label) | Item::Func(_, label)) = item else { return Ok(None) };
        let state = if label.asm == asm.id { asm.labels.get(label.index) } else { None };
        let state = state.ok_or(Error::ForeignLabel { at })?;
        match state.bound {
            None => Err(Error::UnboundLabel { name: state.name.clone(), made: state.made, used: at }),
            Some((index, bound)) if index >= asm.items.len() => {
                Err(Error::LabelAtEnd { name: state.name.clone(), bound, used: at })
            }
            Some((index, _)) => Ok(Some(index)),
        }
    };
    asm.items.iter().map(target).collect()
}

/// Which jumps take the long form, and the first slot of every item.
fn relax(asm: &Asm, targets: &[Option<usize>]) -> (Vec<bool>, Vec<usize>) {
    let mut long = vec![false; asm.items.len()];
    loop {
        let starts = starts(asm, &long);
        let mut grown = false;
        for (index, ((item, _), target)) in asm.items.iter().zip(targets).enumerate() {
            let (Item::Jump(..), Some(target)) = (item, target) else { continue };
            let distance = starts[*target] as i64 - starts[index] as i64 - 1;
            if long[index] || i16::try_from(distance).is_ok() {
                continue;
            }
            long[index] = true;
            grown = true;
        }
        if !grown {
            return (long, starts);
        }
    }
}

/// The first slot of every item, given which jumps are long.
pub(super) fn starts(asm: &Asm, long: &[bool]) -> Vec<usize> {
    let mut next = 0;
    let size = |((item, _), long): (&(Item, Place), &bool)| {
        let start = next;
        next += item.slots(*long);
        start
    };
    asm.items.iter().zip(long).map(size).collect()
}

/// Writes the slots. The second part is the first instruction that may not be used.
fn emit(asm: Asm, targets: &[Option<usize>], long: &[bool], starts: &[usize]) -> (Program, Option<Error>) {
    let mut program = Program::default();
    let mut forbidden = None;
    for (index, (item, at)) in asm.items.iter().enumerate() {
        let start = starts[index];
        let target = targets[index].map_or(0, |target| starts[target]);
        if let Item::Map(_, _, map) = item {
            program.maps.push((start, *map));
        }
        item.write(long[index], start, target, &mut program.insns);
        program.origins.resize(program.insns.len(), Some(at));
        for (slot, insn) in program.insns.iter().enumerate().skip(start) {
            let missing = Features::needed_by(*insn).difference(asm.features);
            if !missing.is_empty() && forbidden.is_none() {
                forbidden = Some(Error::MissingFeature { at, slot, code: insn.code, missing });
            }
        }
    }
    for (index, comment) in asm.comments {
        let Some(slot) = starts.get(index) else { continue };
        let text: &mut String = program.comments.entry(*slot).or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&comment);
    }
    let name = |label: Label| asm.labels.get(label.index).map_or_else(String::new, |state| state.name.clone());
    program.checks.extend(asm.checks.iter().map(|check| {
        let slots = |index: &usize| (starts[*index]..).take(asm.items[*index].0.slots(long[*index]));
        let slots = check.items.iter().flat_map(slots).collect();
        Check { name: check.name.clone(), slots, label: name(check.label), origin: check.at, jumps: check.jumps }
    }));
    for label in asm.labels {
        let Some(slot) = label.bound.and_then(|(index, _)| starts.get(index)) else { continue };
        program.labels.entry(*slot).or_default().push(label.name);
    }
    (program, forbidden)
}

impl Asm {
    pub(super) fn name(&self, label: Label) -> String {
        self.labels.get(label.index).map_or_else(String::new, |state| state.name.clone())
    }
}

impl Item {
    fn slots(&self, long: bool) -> usize {
        match self {
            Self::Plain(_) | Self::Helper(..) | Self::Call(..) => 1,
            Self::Wide(..) | Self::Map(..) | Self::Func(..) => 2,
            Self::Jump(insn, _) if long => match LongForm::of(*insn) {
                LongForm::Goto => 1,
                LongForm::Inverted(_) => 2,
                LongForm::Trampoline => 3,
            },
            Self::Jump(..) => 1,
        }
    }

    fn write(&self, long: bool, start: usize, target: usize, out: &mut Vec<Insn>) {
        // The distance is counted from the slot after the one that carries it.
        let distance = |slot: usize| (target as i64 - slot as i64 - 1) as i32;
        match *self {
            Self::Plain(insn) | Self::Helper(insn, _) => out.push(insn),
            Self::Wide(first, high) | Self::Map(first, high, _) => {
                out.extend([first, Insn { imm: high, ..Insn::default() }]);
            }
            Self::Call(insn, _) => out.push(Insn { imm: distance(start), ..insn }),
            Self::Func(insn, _) => out.extend([Insn { imm: distance(start), ..insn }, Insn::default()]),
            // relax() has proved that the distance fits.
            Self::Jump(insn, _) if !long => out.push(Insn { off: distance(start) as i16, ..insn }),
            Self::Jump(insn, _) => {
                match LongForm::of(insn) {
                    LongForm::Goto => {}
                    LongForm::Inverted(code) => out.push(Insn { code, off: 1, ..insn }),
                    LongForm::Trampoline => {
                        out.push(Insn { off: 1, ..insn });
                        out.push(Insn { code: op::JMP | op::JA, off: 1, ..Insn::default() });
                    }
                }
                let imm = distance(start + self.slots(true) - 1);
                out.push(Insn { code: op::JMP32 | op::JA, imm, ..Insn::default() });
            }
        }
    }
}

/// How a jump is written when its label is far.
enum LongForm {
    Goto,
    /// With the opcode of the inverted condition.
    Inverted(u8),
    Trampoline,
}

impl LongForm {
    fn of(insn: Insn) -> Self {
        let operation = insn.code & op::OP_MASK;
        if insn.code == op::JMP | op::JA {
            return Self::Goto;
        }
        let inverted = Cond::ALL.iter().find(|cond| cond.code() == operation).and_then(|cond| cond.inverted());
        inverted.map_or(Self::Trampoline, |cond| Self::Inverted(insn.code & !op::OP_MASK | cond.code()))
    }
}
