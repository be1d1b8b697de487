//! Register contracts on random fragments, against a look at every path.

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Breach, Error, Helper, Operand, Reg, Regs, Uses};

use super::strategies::reg;

/// One instruction of a fragment.
#[derive(Clone, Copy, Debug)]
enum Step {
    Move(Reg, Operand),
    Add(Reg, Operand),
    Call(u8),
    /// Forward, over this many steps, if the register is 0.
    Skip(Reg, usize),
    Goto(usize),
    /// Out of the emitter, if the register is 0.
    Exit(Reg),
}

fn step() -> impl Strategy<Value = Step> {
    let operand = || prop_oneof![reg().prop_map(Operand::Reg), Just(Operand::Imm(1))];
    prop_oneof![
        3 => (reg(), operand()).prop_map(|(reg, operand)| Step::Move(reg, operand)),
        2 => (reg(), operand()).prop_map(|(reg, operand)| Step::Add(reg, operand)),
        1 => (0..=5u8).prop_map(Step::Call),
        2 => (reg(), 0..4usize).prop_map(|(reg, over)| Step::Skip(reg, over)),
        1 => (0..3usize).prop_map(Step::Goto),
        1 => reg().prop_map(Step::Exit),
    ]
}

fn of(operand: Operand) -> Regs {
    match operand {
        Operand::Reg(reg) => reg.into(),
        Operand::Imm(_) => Regs::NONE,
    }
}

/// What every path from `at` does, given what has been written on the way there: reads of the caller's registers, and the
/// registers that hold something at the end of each path that reaches it.
fn walk(steps: &[Step], at: usize, held: Regs, written: Regs, reads: &mut Regs, ends: &mut Vec<Regs>) {
    let Some(step) = steps.get(at) else {
        ends.push(held);
        return;
    };
    let mut read = |regs: Regs| *reads = *reads | (regs - written - Regs::from(Reg::R10));
    match *step {
        Step::Move(dst, operand) => {
            read(of(operand));
            walk(steps, at + 1, held | dst.into(), written | dst.into(), reads, ends);
        }
        Step::Add(dst, operand) => {
            read(of(operand) | dst.into());
            walk(steps, at + 1, held | dst.into(), written | dst.into(), reads, ends);
        }
        Step::Call(count) => {
            read(Regs::arguments(count));
            let held = (held | Reg::R0.into()) - Regs::ARGUMENTS;
            walk(steps, at + 1, held, written | Regs::SCRATCH, reads, ends);
        }
        Step::Skip(reg, over) => {
            read(reg.into());
            walk(steps, at + 1, held, written, reads, ends);
            walk(steps, (at + 1 + over).min(steps.len()), held, written, reads, ends);
        }
        Step::Goto(over) => walk(steps, (at + 1 + over).min(steps.len()), held, written, reads, ends),
        Step::Exit(reg) => {
            read(reg.into());
            walk(steps, at + 1, held, written, reads, ends);
        }
    }
}

fn emit(a: &mut Asm, steps: &[Step], out: sidestep::asm::Label) {
    let labels: Vec<_> = (0..=steps.len()).map(|index| a.label(format!("step {index}"))).collect();
    for (index, step) in steps.iter().enumerate() {
        a.bind(labels[index]);
        match *step {
            Step::Move(dst, operand) => a.mov(dst, operand),
            Step::Add(dst, operand) => a.add(dst, operand),
            Step::Call(count) => a.call(Helper::new(1, count)),
            Step::Skip(reg, over) => a.jump_if(reg.equals(0), labels[(index + 1 + over).min(steps.len())]),
            Step::Goto(over) => a.goto(labels[(index + 1 + over).min(steps.len())]),
            Step::Exit(reg) => a.jump_if(reg.equals(0), out),
        }
    }
    a.bind(labels[steps.len()]);
}

fn set() -> impl Strategy<Value = Regs> {
    vec(reg(), 0..9).prop_map(|regs| regs.into_iter().fold(Regs::NONE, |set, reg| set | reg.into()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_breach_is_found_exactly_when_there_is_one(
        steps in vec(step(), 0..10),
        reads in set(),
        writes in set(),
        gives in prop_oneof![3 => Just(Regs::NONE), 1 => set()],
    ) {
        let mut a = Asm::new();
        let out = a.label("out");
        a.emitter("fragment", Uses::nothing().reads(reads).writes(writes).gives(gives), |a| emit(a, &steps, out));
        a.bind(out);
        a.exit();
        let found = match a.finish() {
            Ok(_) => None,
            Err(Error::BrokenContract { breach, .. }) => Some(breach),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };

        let (mut read, mut ends) = (Regs::NONE, Vec::new());
        walk(&steps, 0, Regs::NONE, Regs::NONE, &mut read, &mut ends);
        let written = steps.iter().fold(Regs::NONE, |all, step| all | match *step {
            Step::Move(dst, _) | Step::Add(dst, _) => dst.into(),
            Step::Call(_) => Regs::SCRATCH,
            _ => Regs::NONE,
        });
        let undeclared = [
            written - writes - gives,
            read - reads,
            ends.iter().fold(Regs::NONE, |all, end| all | (gives - *end)),
        ];
        match found {
            None => prop_assert_eq!(undeclared, [Regs::NONE; 3]),
            Some(Breach::Writes(reg)) => prop_assert!(undeclared[0].contains(reg)),
            Some(Breach::Reads(reg)) => prop_assert!(undeclared[1].contains(reg)),
            Some(Breach::Gives(reg)) => prop_assert!(undeclared[2].contains(reg)),
            Some(other) => prop_assert!(false, "a breach that this test does not know: {other:?}"),
        }
    }
}
