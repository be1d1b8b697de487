//! Label addresses and relaxation against a naive model, which writes text and lengthens one jump at a time.

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Cond, Error, Features, Insn, Reg, disassemble};

/// One step of a program: what it emits, and to which label it refers.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This many instructions of one slot.
    Fill(usize),
    /// A 64-bit immediate.
    Wide,
    Goto(usize),
    MayGoto(usize),
    /// Has an inverse.
    Less(usize),
    /// Has none.
    AnyBit(usize),
    Call(usize),
    Func(usize),
}

const LABELS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let label = || 0..LABELS;
    prop_oneof![
        2 => (1..5usize).prop_map(Step::Fill),
        // Around the reach of 16 bits, so that some jumps only fail because others grew.
        2 => (32_750..32_772usize).prop_map(Step::Fill),
        1 => Just(Step::Wide),
        2 => label().prop_map(Step::Goto),
        1 => label().prop_map(Step::MayGoto),
        3 => label().prop_map(Step::Less),
        2 => label().prop_map(Step::AnyBit),
        1 => label().prop_map(Step::Call),
        1 => label().prop_map(Step::Func),
    ]
}

impl Step {
    fn label(self) -> Option<usize> {
        match self {
            Self::Fill(_) | Self::Wide => None,
            Self::Goto(label) | Self::MayGoto(label) | Self::Less(label) => Some(label),
            Self::AnyBit(label) | Self::Call(label) | Self::Func(label) => Some(label),
        }
    }

    fn size(self, long: bool) -> usize {
        match self {
            Self::Fill(count) => count,
            Self::Wide | Self::Func(_) => 2,
            Self::Less(_) if long => 2,
            Self::MayGoto(_) | Self::AnyBit(_) if long => 3,
            _ => 1,
        }
    }

    fn is_jump(self) -> bool {
        matches!(self, Self::Goto(_) | Self::MayGoto(_) | Self::Less(_) | Self::AnyBit(_))
    }

    fn emit(self, a: &mut Asm, labels: &[sidestep::asm::Label]) {
        match self {
            Self::Fill(count) => (0..count).for_each(|_| a.mov(Reg::R0, 0)),
            Self::Wide => a.load_imm64(Reg::R1, 7),
            Self::Goto(label) => a.goto(labels[label]),
            Self::MayGoto(label) => a.may_goto(labels[label]),
            Self::Less(label) => a.jump(Cond::Lt, Reg::R1, 5, labels[label]),
            Self::AnyBit(label) => a.jump32(Cond::Set, Reg::R1, Reg::R2, labels[label]),
            Self::Call(label) => a.call_sub(labels[label]),
            Self::Func(label) => a.load_func(Reg::R1, labels[label]),
        }
    }
}

/// The slot of every step, and of the end.
fn addresses(steps: &[Step], long: &[bool]) -> Vec<i64> {
    let mut at = vec![0];
    for (step, long) in steps.iter().zip(long) {
        at.push(at[at.len() - 1] + step.size(*long) as i64);
    }
    at
}

/// The instructions that the steps should become; `bound[label]` is the step before which the label stands.
fn model(steps: &[Step], bound: &[usize]) -> Vec<String> {
    let mut long = vec![false; steps.len()];
    let at = loop {
        let at = addresses(steps, &long);
        let out_of_reach = |&index: &usize| {
            let step: Step = steps[index];
            let target = step.label().map_or(0, |label| at[bound[label]]);
            step.is_jump() && !long[index] && !(-32768..=32767).contains(&(target - at[index] - 1))
        };
        match (0..steps.len()).find(out_of_reach) {
            Some(index) => long[index] = true,
            None => break at,
        }
    };
    let mut text = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let last = at[index] + step.size(long[index]) as i64 - 1;
        let target = step.label().map_or(0, |label| at[bound[label]]);
        let (near, far) = (target - at[index] - 1, target - last - 1);
        let mut line = |words: String| text.push(words);
        match (step, long[index]) {
            (Step::Fill(count), _) => (0..*count).for_each(|_| line("(b7) r0 = 0".into())),
            (Step::Wide, _) => line("(18) r1 = 0x7".into()),
            (Step::Goto(_), false) => line(format!("(05) goto pc{near:+}")),
            (Step::MayGoto(_), false) => line(format!("(e5) may_goto pc{near:+}")),
            (Step::Less(_), false) => line(format!("(a5) if r1 < 0x5 goto pc{near:+}")),
            (Step::AnyBit(_), false) => line(format!("(4e) if w1 & w2 goto pc{near:+}")),
            (Step::Goto(_), true) => line(format!("(06) gotol pc{far:+}")),
            (Step::Less(_), true) => {
                line("(35) if r1 >= 0x5 goto pc+1".into());
                line(format!("(06) gotol pc{far:+}"));
            }
            (Step::MayGoto(_) | Step::AnyBit(_), true) => {
                let first = if matches!(step, Step::MayGoto(_)) { "(e5) may_goto" } else { "(4e) if w1 & w2 goto" };
                line(format!("{first} pc+1"));
                line("(05) goto pc+1".into());
                line(format!("(06) gotol pc{far:+}"));
            }
            (Step::Call(_), _) => line(format!("(85) call pc{near:+}")),
            (Step::Func(_), _) => line(format!("(18) r1 = subprog[{near:+}]")),
        }
    }
    text
}

/// Walks steps and instructions side by side, both ways at every condition, and passes over every `goto` of either.
fn walk(steps: &[Step], bound: &[usize], insns: &[Insn]) -> Result<(), String> {
    // A filler is many instructions, so a place among the steps is a step and a number within it.
    let mut seen = vec![None; insns.len()];
    let mut todo = vec![((0, 0), 0_i64)];
    while let Some((mut place, mut slot)) = todo.pop() {
        for _ in 0..=steps.len() {
            let Some(Step::Goto(label)) = steps.get(place.0) else { break };
            place = (bound[*label], 0);
        }
        for _ in 0..insns.len() {
            let Some(insn) = insns.get(slot as usize).filter(|insn| insn.code == 0x05) else { break };
            slot += 1 + i64::from(insn.off);
        }
        let (Some(step), Some(insn)) =
            (steps.get(place.0), usize::try_from(slot).ok().and_then(|slot| insns.get(slot)))
        else {
            let end = place.0 == steps.len() && slot == insns.len() as i64;
            (end.then_some(())).ok_or_else(|| format!("{place:?} of the steps, but slot {slot}"))?;
            continue;
        };
        if matches!(step, Step::Goto(_)) != (insn.code == 0x05) {
            return Err(format!("slot {slot}: {insn:?} instead of {step:?}"));
        }
        match seen[slot as usize].replace(place) {
            Some(before) if before != place => return Err(format!("slot {slot} is both {before:?} and {place:?}")),
            Some(_) => continue,
            None => {}
        }
        let (code, slots) = match step {
            Step::Fill(_) => (0xb7, 1),
            Step::Wide | Step::Func(_) => (0x18, 2),
            // Both go round forever.
            Step::Goto(_) => continue,
            Step::MayGoto(_) => (0xe5, 1),
            Step::Less(_) => (0xa5, 1),
            Step::AnyBit(_) => (0x4e, 1),
            Step::Call(_) => (0x85, 1),
        };
        if insn.code != code {
            return Err(format!("slot {slot}: {insn:?} instead of {step:?}"));
        }
        let next = match step {
            Step::Fill(count) if place.1 + 1 < *count => (place.0, place.1 + 1),
            _ => (place.0 + 1, 0),
        };
        todo.push((next, slot + slots));
        if let Some(label) = step.label() {
            let distance = if step.is_jump() { i64::from(insn.off) } else { i64::from(insn.imm) };
            todo.push(((bound[label], 0), slot + 1 + distance));
        }
    }
    Ok(())
}

/// Builds the steps; a label stands before each of the steps that its list names.
fn build(features: Features, steps: &[Step], bound: &[Vec<usize>]) -> Result<sidestep::asm::Program, Error> {
    let mut a = Asm::with_features(features);
    let labels: Vec<_> = (0..bound.len()).map(|label| a.label(format!("label {label}"))).collect();
    for index in 0..=steps.len() {
        for (label, places) in bound.iter().enumerate() {
            places.iter().filter(|place| **place == index).for_each(|_| a.bind(labels[label]));
        }
        if let Some(step) = steps.get(index) {
            step.emit(&mut a, &labels);
        }
    }
    a.finish()
}

fn steps_and_places() -> impl Strategy<Value = (Vec<Step>, Vec<usize>)> {
    vec(step(), 1..12).prop_flat_map(|steps| {
        let places = vec(0..steps.len(), LABELS);
        (Just(steps), places)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_label_is_where_the_model_says((steps, places) in steps_and_places()) {
        let bound: Vec<_> = places.iter().map(|place| vec![*place]).collect();
        let program = build(Features::all(), &steps, &bound)?;
        let text: Vec<_> = disassemble(program.insns()).map(|(_, disasm)| disasm.to_string()).collect();
        let model = model(&steps, &places);
        // Not prop_assert_eq, which would print some hundred thousand lines.
        prop_assert_eq!(text.len(), model.len());
        for (index, (line, expected)) in text.iter().zip(&model).enumerate() {
            prop_assert_eq!(line, expected, "instruction {}", index);
        }
    }

    /// Without the long jump every path through the program passes the same steps, whatever `goto`s lie in between.
    #[test]
    fn without_gotol_every_path_is_the_same((steps, places) in steps_and_places()) {
        let bound: Vec<_> = places.iter().map(|place| vec![*place]).collect();
        let with = build(Features::all(), &steps, &bound)?;
        let without = build(Features::all() - Features::GOTOL, &steps, &bound)?;
        if with.insns().iter().any(|insn| insn.code == 0x06) {
            walk(&steps, &places, without.insns()).map_err(TestCaseError::fail)?;
        } else {
            prop_assert!(without.insns() == with.insns(), "it has changed without need");
        }
    }

    #[test]
    fn wrong_bindings_are_named(
        steps in vec(step(), 1..6),
        bound in vec(vec(0..7usize, 0..3), LABELS),
    ) {
        let bound: Vec<Vec<_>> = bound
            .into_iter()
            .map(|places| places.into_iter().filter(|place| *place <= steps.len()).collect())
            .collect();
        let used = |label: usize| steps.iter().any(|step| step.label() == Some(label));
        let twice = bound.iter().any(|places| places.len() > 1);
        let never = (0..LABELS).any(|label| used(label) && bound[label].is_empty());
        let at_end = (0..LABELS).any(|label| used(label) && bound[label] == [steps.len()]);
        match build(Features::all(), &steps, &bound) {
            Err(Error::DoublyBoundLabel { .. }) => prop_assert!(twice),
            Err(Error::UnboundLabel { .. }) => prop_assert!(never && !twice),
            Err(Error::LabelAtEnd { .. }) => prop_assert!(at_end && !twice),
            Err(error) => prop_assert!(false, "{}", error),
            Ok(_) => prop_assert!(!twice && !never && !at_end),
        }
    }
}
