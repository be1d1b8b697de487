//! Register contracts: what an emitter declares, held against every instruction that it has emitted.
//!
//! An emitter is a range of instructions. It is entered at its first one, and wherever a jump from outside leads into it.
//! From there on, along every path within the range:
//!
//! - each register that is written must be declared ([`Uses::writes`], [`Uses::gives`]);
//! - each register that is read before it is written must be declared ([`Uses::reads`]);
//! - at the end of the range, each register that is given must have been written.
//!
//! A call writes R0 and loses R1 to R5. Ways that leave the range in between promise nothing.

use std::ops::Range;
use std::panic::Location;

use super::{Asm, Item, Place};
use crate::asm::effects::Effects;
use crate::asm::{Breach, Error, FP, Reg, Regs, Uses};

/// An emitter and its contract.
pub(super) struct Emitter {
    /// Its name, behind those of the emitters around it.
    pub(super) name: String,
    uses: Uses,
    declared: Place,
    items: Range<usize>,
    /// How many labels and ends of emitters came before its end.
    order: usize,
}

impl Asm {
    /// Emits `body` under a contract: what it does to registers is checked by [`Asm::finish`], which names the Rust line of
    /// the first instruction that breaks it. The stack slots that `body` makes end with it, as in [`Asm::frame`], and the
    /// names of its checks begin with `name`.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Reg::*, Uses};
    ///
    /// let mut a = Asm::new();
    /// a.emitter("sum", Uses::nothing().reads([R1, R2]).gives(R0), |a| {
    ///     a.mov(R0, R1);
    ///     a.add(R0, R2);
    ///     a.mov(R3, 0);
    /// });
    /// a.exit();
    /// let error = a.finish().unwrap_err().to_string();
    /// assert!(error.contains("`sum`") && error.contains("writes r3") && error.contains(".rs:"), "{error}");
    /// ```
    #[track_caller]
    pub fn emitter<R>(&mut self, name: &str, uses: Uses, body: impl FnOnce(&mut Self) -> R) -> R {
        self.begin_emitter(name, uses);
        let result = self.frame(body);
        self.end_emitter();
        result
    }

    #[track_caller]
    #[cold]
    fn begin_emitter(&mut self, name: &str, uses: Uses) {
        let start = self.items.len();
        let emitter =
            Emitter { name: self.path(name), uses, declared: Location::caller(), items: start..start, order: 0 };
        self.open.push(self.emitters.len());
        self.emitters.push(emitter);
    }

    #[cold]
    fn end_emitter(&mut self) {
        let end = self.items.len();
        if let Some(emitter) = self.open.pop().and_then(|index| self.emitters.get_mut(index)) {
            emitter.items.end = end;
            emitter.order = self.order;
            self.order += 1;
        }
    }

    /// The same for a small emitter that is used in many places: its instructions are said to come from the line that
    /// calls it, where it is itself called by a `#[track_caller]` function. A breach still names the line in it.
    #[track_caller]
    pub fn idiom<R>(&mut self, name: &str, uses: Uses, body: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.inlined;
        self.inlined = outer.or(Some(Location::caller()));
        let result = self.emitter(name, uses, body);
        self.inlined = outer;
        result
    }

    /// A name behind those of the emitters that are open.
    pub(super) fn path(&self, name: &str) -> String {
        match self.open.last().and_then(|index| self.emitters.get(*index)) {
            Some(emitter) => format!("{}/{name}", emitter.name),
            None => name.into(),
        }
    }
}

/// The first breach of a contract. `targets` has for each item the one that it refers to.
pub(super) fn check(asm: &Asm, targets: &[Option<usize>]) -> Result<(), Error> {
    if asm.emitters.is_empty() {
        return Ok(());
    }
    let effects: Vec<Effects> = asm.items.iter().map(|(item, _)| item.effects()).collect();
    let mut sources: Vec<(usize, usize)> =
        targets.iter().enumerate().filter_map(|(from, to)| to.map(|to| (to, from))).collect();
    sources.sort_unstable();
    let program = Flow { asm, targets, effects: &effects, sources: &sources };
    for emitter in &asm.emitters {
        if let Some((breach, item)) = program.breach(emitter) {
            let at = asm.lines.get(item).copied().unwrap_or(emitter.declared);
            let (emitter, declared) = (emitter.name.clone(), emitter.declared);
            return Err(Error::BrokenContract { emitter, declared, breach, at });
        }
    }
    Ok(())
}

/// The program's instructions, and how they follow each other.
struct Flow<'a> {
    asm: &'a Asm,
    targets: &'a [Option<usize>],
    effects: &'a [Effects],
    /// Who refers to an item, sorted by the item: (item, referrer).
    sources: &'a [(usize, usize)],
}

impl Flow<'_> {
    fn breach(&self, emitter: &Emitter) -> Option<(Breach, usize)> {
        let range = emitter.items.clone();
        let Uses { reads, writes, gives } = emitter.uses;
        let written = |item: usize| (self.effects[item].writes - (writes | gives)).iter().next();
        if let Some((item, reg)) = range.clone().find_map(|item| written(item).map(|reg| (item, reg))) {
            return Some((Breach::Writes(reg), item));
        }
        let entries = self.entries(&range);
        let live = self.live(&range);
        for entry in &entries {
            let from_caller = live[entry - range.start] - (reads | Regs::of(FP));
            if let Some(reg) = from_caller.iter().next() {
                return Some((Breach::Reads(reg), self.first_read(&range, *entry, reg)));
            }
        }
        let missing = gives - self.given(emitter, &entries);
        missing.iter().next().map(|reg| (Breach::Gives(reg), range.end.saturating_sub(1)))
    }

    /// Where the range is entered, ascending.
    fn entries(&self, range: &Range<usize>) -> Vec<usize> {
        let first = self.sources.partition_point(|(to, _)| *to < range.start);
        let into = self.sources[first..].iter().take_while(|(to, _)| *to < range.end);
        let from_outside = into.filter(|(_, from)| !range.contains(from)).map(|(to, _)| *to);
        let mut entries: Vec<_> = range.clone().take(1).chain(from_outside).collect();
        entries.sort();
        entries.dedup();
        entries
    }

    /// What can follow an item; the end of the program is not an item.
    fn successors(&self, item: usize) -> impl Iterator<Item = usize> {
        let (what, _) = &self.asm.items[item];
        let next = what.goes_on().then_some(item + 1);
        // The target of a call or of an address is not where this path goes on.
        let target = if let Item::Jump(..) = what { self.targets[item] } else { None };
        next.into_iter().chain(target)
    }

    /// For each item of the range, the registers that are read from there on before they are written.
    fn live(&self, range: &Range<usize>) -> Vec<Regs> {
        let mut live = vec![Regs::NONE; range.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for item in range.clone().rev() {
                let Effects { reads, writes, .. } = self.effects[item];
                let after = self.successors(item).filter(|next| range.contains(next));
                let after = after.fold(Regs::NONE, |all, next| all | live[next - range.start]);
                let before = reads | (after - writes);
                changed |= before != live[item - range.start];
                live[item - range.start] = before;
            }
        }
        live
    }

    /// The first item that reads `reg` on a path from `entry` on which nothing writes it.
    fn first_read(&self, range: &Range<usize>, entry: usize, reg: Reg) -> usize {
        let mut seen = vec![false; range.len()];
        let mut todo = vec![entry];
        let mut first = entry;
        let mut found = false;
        while let Some(item) = todo.pop() {
            if std::mem::replace(&mut seen[item - range.start], true) {
                continue;
            }
            let Effects { reads, writes, .. } = self.effects[item];
            if reads.contains(reg) {
                first = if found { first.min(item) } else { item };
                found = true;
            } else if !writes.contains(reg) {
                todo.extend(self.successors(item).filter(|next| range.contains(next)));
            }
        }
        first
    }

    /// Whether this item, which the first one behind the emitter can follow, goes on to the emitter's own end: by itself, or
    /// by a label that was bound while the emitter was open. Other jumps leave it.
    fn ends(&self, emitter: &Emitter, item: usize) -> bool {
        match &self.asm.items[item].0 {
            Item::Jump(_, label) if self.targets[item] == Some(emitter.items.end) => {
                let state = self.asm.labels.get(label.index);
                item + 1 == emitter.items.end && self.asm.items[item].0.goes_on()
                    || state.is_some_and(|state| state.order < emitter.order)
            }
            _ => true,
        }
    }

    /// Which of `gives` have been written on every path that goes from an entry to the end of the range.
    fn given(&self, emitter: &Emitter, entries: &[usize]) -> Regs {
        let range = &emitter.items;
        // What has been written where an item begins; nothing while no path to it is known.
        let mut given: Vec<Option<Regs>> = vec![None; range.len() + 1];
        for entry in entries {
            given[entry - range.start] = Some(Regs::NONE);
        }
        if range.is_empty() {
            return Regs::NONE;
        }
        let mut todo: Vec<usize> = entries.to_vec();
        while let Some(item) = todo.pop() {
            let Some(before) = given[item - range.start].filter(|_| item < range.end) else { continue };
            let Effects { writes, loses, .. } = self.effects[item];
            let after = (before | writes) - loses;
            let inside = |next: &usize| range.contains(next) || *next == range.end && self.ends(emitter, item);
            for next in self.successors(item).filter(inside) {
                let place = &mut given[next - range.start];
                let met = place.map_or(after, |known| known.intersection(after));
                if *place != Some(met) {
                    *place = Some(met);
                    todo.push(next);
                }
            }
        }
        given[range.len()].unwrap_or(emitter.uses.gives)
    }
}

impl Item {
    fn effects(&self) -> Effects {
        match self {
            Self::Helper(insn, arguments) => Effects::of(*insn, *arguments),
            Self::Plain(insn) | Self::Jump(insn, _) | Self::Call(insn, _) => Effects::of(*insn, 0),
            Self::Wide(insn, _) | Self::Map(insn, ..) | Self::Func(insn, _) => Effects::of(*insn, 0),
        }
    }
}
