//! Islands: how a jump reaches a far label where there is no long jump, which came with Linux 6.6.
//!
//! A jump that does not reach its label is sent to a `goto` on the way:
//!
//! ```text
//! if a cond b goto toward_L
//! ...
//! goto past                  unless the instruction before never goes on to the next
//! toward_L: goto L           sent to another island if it does not reach either
//! past: ...
//! L: ...
//! ```
//!
//! An island lies between a jump and its label, so never in another subprogram. Islands move the code behind them, so the
//! round is repeated until every jump reaches. A `goto L` of the program's own that is on the way serves as well.

use std::collections::{BTreeMap, HashMap};

use super::layout::{starts, targets};
use super::{Asm, Item, Label, LabelState, Place};
use crate::asm::opcode as op;
use crate::asm::{Error, Insn};

/// Slots from a jump to its island: fewer than the 32767 that it reaches, so that other islands have room in between.
const STRIDE: usize = 24_576;
/// Where growing ends: no kernel takes a longer program (`BPF_COMPLEXITY_LIMIT_INSNS` of include/linux/bpf.h). Only a
/// program in which more jumps to different labels cross one place than there are slots in reach comes near.
const MAX_SLOTS: usize = 1_000_000;

const GOTO: Insn = Insn { code: op::JMP | op::JA, dst: 0, src: 0, off: 0, imm: 0 };

/// Puts islands in until every jump reaches.
pub(super) fn insert(asm: &mut Asm) -> Result<(), Error> {
    loop {
        let targets = targets(asm)?;
        let starts = starts(asm, &vec![false; asm.items.len()]);
        let mut round = Round { asm, starts: &starts, gotos: None, islands: BTreeMap::new() };
        for (index, target) in targets.iter().enumerate() {
            let (Item::Jump(insn, label), at) = round.asm.items[index] else { continue };
            let Some(target) = *target else { continue };
            let distance = starts[target] as i64 - starts[index] as i64 - 1;
            if i16::try_from(distance).is_ok() {
                continue;
            }
            if starts.last().is_some_and(|last| *last >= MAX_SLOTS) {
                return Err(Error::JumpOutOfRange { name: asm.name(label), distance, at });
            }
            let hop = round.on_the_way(index, target, label, at);
            round.asm.items[index].0 = Item::Jump(insn, hop);
        }
        if round.gotos.is_none() {
            return Ok(());
        }
        let islands = round.islands;
        build(asm, islands);
    }
}

/// A place where a jump to some label can land on its way.
struct Waypoint {
    /// The item that it is, or, of an island, the item that it will stand before.
    item: usize,
    /// The label that leads there, where one has been needed.
    label: Option<Label>,
}

/// An island to be built.
struct Island {
    own: Label,
    goal: Label,
    at: Place,
}

/// One look at every jump.
struct Round<'a> {
    asm: &'a mut Asm,
    starts: &'a [usize],
    /// What leads to a label without a condition, by the label's index; gathered when first needed.
    gotos: Option<HashMap<usize, Vec<Waypoint>>>,
    /// Islands by the item that they will stand before.
    islands: BTreeMap<usize, Vec<Island>>,
}

impl Round<'_> {
    /// The label to which the far jump at `index` goes instead: the farthest waypoint within a stride, or a new island.
    fn on_the_way(&mut self, index: usize, target: usize, goal: Label, at: Place) -> Label {
        let here = self.starts[index];
        let (first, last) = if target > index {
            (index + 1, self.starts.partition_point(|start| *start <= here + STRIDE) - 1)
        } else {
            (self.starts.partition_point(|start| start + STRIDE < here), index - 1)
        };
        let asm = &mut *self.asm;
        let gotos = self.gotos.get_or_insert_with(|| gotos(&asm.items)).entry(goal.index).or_default();
        let within = gotos.iter_mut().filter(|waypoint| (first..=last).contains(&waypoint.item));
        if let Some(waypoint) = within.max_by_key(|waypoint| waypoint.item.abs_diff(index)) {
            return *waypoint.label.get_or_insert_with(|| asm.waypoint(goal, at, Some(waypoint.item)));
        }
        let own = asm.waypoint(goal, at, None);
        let before = if target > index { last } else { first };
        gotos.push(Waypoint { item: before, label: Some(own) });
        self.islands.entry(before).or_default().push(Island { own, goal, at });
        own
    }
}

/// The program's own ways to each label.
fn gotos(items: &[(Item, Place)]) -> HashMap<usize, Vec<Waypoint>> {
    let mut gotos: HashMap<usize, Vec<Waypoint>> = HashMap::new();
    for (item, (what, _)) in items.iter().enumerate() {
        if let Item::Jump(GOTO, label) = what {
            gotos.entry(label.index).or_default().push(Waypoint { item, label: None });
        }
    }
    gotos
}

/// Puts the islands before their items, and moves what refers to items along.
fn build(asm: &mut Asm, mut islands: BTreeMap<usize, Vec<Island>>) {
    let mut items: Vec<(Item, Place)> = Vec::with_capacity(asm.items.len());
    let mut moved = Vec::with_capacity(asm.items.len() + 1);
    let mut built = Vec::new();
    for (index, item) in std::mem::take(&mut asm.items).into_iter().enumerate() {
        let block = islands.remove(&index).unwrap_or_default();
        if let Some(Island { at, .. }) = block.first()
            && items.last().is_none_or(|(before, _)| before.goes_on())
        {
            items.push((Item::Jump(GOTO, asm.new_label("past".into(), at, Some(index))), at));
        }
        for Island { own, goal, at } in block {
            built.push((own, items.len(), at));
            items.push((Item::Jump(GOTO, goal), at));
        }
        moved.push(items.len());
        items.push(item);
    }
    moved.push(items.len());
    asm.items = items;
    for (index, _) in asm.labels.iter_mut().filter_map(|label| label.bound.as_mut()) {
        *index = moved[*index];
    }
    for (index, _) in &mut asm.comments {
        *index = moved[*index];
    }
    for index in asm.checks.iter_mut().flat_map(|check| &mut check.items) {
        *index = moved[*index];
    }
    for (own, index, at) in built {
        asm.labels[own.index].bound = Some((index, at));
    }
}

impl Asm {
    /// A label for a place on the way to `goal`.
    fn waypoint(&mut self, goal: Label, at: Place, bound: Option<usize>) -> Label {
        let name = self.name(goal);
        let name = if name.starts_with("toward_") { name } else { format!("toward_{name}") };
        self.new_label(name, at, bound)
    }

    fn new_label(&mut self, name: String, made: Place, bound: Option<usize>) -> Label {
        self.labels.push(LabelState { name, made, bound: bound.map(|index| (index, made)), order: 0 });
        Label { asm: self.id, index: self.labels.len() - 1 }
    }
}

impl Item {
    /// Whether the instruction can be followed by the next one.
    pub(super) fn goes_on(&self) -> bool {
        match self {
            Self::Plain(insn) => insn.code != op::JMP | op::EXIT,
            Self::Jump(insn, _) => *insn != GOTO,
            _ => true,
        }
    }
}
