//! Structured forms: checks, their names and what is left without them.

use super::built;
use crate::asm::Reg::*;
use crate::asm::{Asm, Error, Features, Insn, Program, Uses, disassemble};

fn text(program: &Program) -> Vec<String> {
    disassemble(program.insns()).map(|(_, disasm)| disasm.to_string()).collect()
}

#[test]
fn a_condition_without_an_inverse_takes_two_jumps() {
    let program = built(|a| {
        let out = a.label("out");
        a.mov(R0, 0);
        a.require(R1.any_of(4), out, "set");
        a.require(R1.w().none_of(8), out, "unset");
        a.mov(R0, 1);
        a.bind(out);
        a.exit();
    });
    assert_eq!(text(&program)[1..4], ["(45) if r1 & 0x4 goto pc+1", "(05) goto pc+2", "(46) if w1 & 0x8 goto pc+1"]);
    assert_eq!(program.checks()[0].slots, [1, 2]);
    assert_eq!(text(&program.without(&program.checks()[0]))[1..3], ["(05) goto pc+0", "(05) goto pc+0"]);
}

#[test]
fn checks_are_named_by_their_emitters() {
    let line = line!() + 5;
    let program = built(|a| {
        let out = a.label("out");
        a.emitter("gate", Uses::nothing().reads(R1), |a| {
            a.emitter("order", Uses::nothing().reads(R1), |a| {
                a.require(R1.equals(0), out, "first");
                a.permit(R1.equals(1), out, "second");
            });
            a.guard(R1.equals(2), "third", |a| a.goto(out));
        });
        a.bind(out);
        a.exit();
    });
    let names: Vec<_> = program.checks().iter().map(|check| (check.name.as_str(), check.label.as_str())).collect();
    assert_eq!(names, [("gate/order/first", "out"), ("gate/order/second", "out"), ("gate/third", "end_guard")]);
    assert_eq!(program.checks()[0].origin.line(), line);
    let [first, second, third] = [0, 1, 2].map(|check| program.without(&program.checks()[check]));
    assert_eq!(first.insns()[0], Insn::NOP);
    assert_eq!(second.insns()[1], Insn { off: program.insns()[1].off, ..Insn::NOP });
    assert_eq!(third.insns()[2], Insn { off: 1, ..Insn::NOP });
}

/// Steps through moves and jumps until the exit, and says what is in R0. R1 is 0 at first.
fn run(program: &Program) -> i64 {
    let (mut slot, mut r) = (0_i64, [0_i64; 11]);
    for _ in 0..100 {
        let insn = program.insns()[slot as usize];
        slot += 1;
        let jump = match insn.code {
            0xb7 => {
                r[usize::from(insn.dst)] = i64::from(insn.imm);
                false
            }
            0x05 => true,
            0x06 => {
                slot += i64::from(insn.imm);
                false
            }
            0x15 => r[usize::from(insn.dst)] == i64::from(insn.imm),
            0x55 => r[usize::from(insn.dst)] != i64::from(insn.imm),
            0x45 => r[usize::from(insn.dst)] & i64::from(insn.imm) != 0,
            0x95 => return r[0],
            code => panic!("{code:#x} at slot {}", slot - 1),
        };
        if jump {
            slot += i64::from(insn.off);
        }
    }
    panic!("it does not end")
}

/// Filler that no 16-bit offset reaches across, jumped over.
fn far(a: &mut Asm) {
    a.block("past_filler", |a, end| {
        a.goto(end);
        for _ in 0..40_000 {
            a.mov(R3, 0);
        }
    });
}

#[test]
fn a_check_can_be_dropped_however_far_it_jumps() {
    for features in [Features::all(), Features::LINUX_5_10] {
        let build = |emit: &dyn Fn(&mut Asm, crate::asm::Label)| {
            let mut a = Asm::with_features(features);
            let out = a.label("out");
            a.mov(R0, 1);
            a.mov(R1, 0);
            emit(&mut a, out);
            a.mov(R0, 2);
            far(&mut a);
            a.exit();
            a.bind(out);
            a.exit();
            a.finish().unwrap()
        };
        // Each check: what the program says with it and without it.
        type Emit = &'static dyn Fn(&mut Asm, crate::asm::Label);
        let checks: [(Emit, i64, i64); 6] = [
            (&|a, out| a.require(R1.equals(1), out, "fails"), 1, 2),
            (&|a, out| a.require(R1.equals(0), out, "holds"), 2, 2),
            (&|a, out| a.require(R1.any_of(1), out, "bit"), 1, 2),
            (&|a, out| a.permit(R1.equals(1), out, "refuses"), 2, 1),
            (&|a, out| a.permit(R1.any_of(1), out, "refuses"), 2, 1),
            (&|a, out| a.permit(R1.equals(0), out, "permits"), 1, 1),
        ];
        for (index, (emit, with, without)) in checks.into_iter().enumerate() {
            let program = build(emit);
            assert_eq!(run(&program), with, "{index}");
            assert_eq!(run(&program.without(&program.checks()[0])), without, "{index}, dropped");
        }
    }
}

#[test]
fn forms_that_cannot_be_dropped_are_mistakes() {
    let mut a = Asm::new();
    let out = a.here("out");
    a.permit(R1.none_of(1), out, "bits");
    a.exit();
    assert!(matches!(a.finish(), Err(Error::InvalidOperand { .. })));
    let mut a = Asm::new();
    a.guard(R1.any_of(1), "bits", |_| ());
    a.exit();
    assert!(matches!(a.finish(), Err(Error::InvalidOperand { .. })));
}
