//! Contracts: which breach is found, and on which line.

use crate::asm::Reg::{self, *};
use crate::asm::{Asm, Breach, Cond, Error, FP, Helper, Size, Uses};

/// What the contract of an emitter with this body says, and how many lines behind `emitter` the breach is.
#[track_caller]
fn breach(uses: Uses, body: impl FnOnce(&mut Asm)) -> Option<Breach> {
    let mut a = Asm::new();
    a.emitter("emitter", uses, body);
    a.mov(R0, 0);
    a.exit();
    match a.finish() {
        Ok(_) => None,
        Err(Error::BrokenContract { breach, .. }) => Some(breach),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_is_written_must_be_declared() {
    assert_eq!(breach(Uses::scratch(), |a| a.mov(R7, 0)), Some(Breach::Writes(R7)));
    assert_eq!(breach(Uses::nothing().writes(R7), |a| a.mov(R7, 0)), None);
    assert_eq!(breach(Uses::nothing().gives(R7), |a| a.mov(R7, 0)), None);
    assert_eq!(breach(Uses::nothing().writes([R0, R1]), |a| a.call(5)), Some(Breach::Writes(R2)));
    assert_eq!(breach(Uses::scratch(), |a| a.call(5)), None);
}

#[test]
fn what_is_read_must_be_declared_or_written_on_every_way() {
    assert_eq!(breach(Uses::scratch(), |a| a.mov(R1, R7)), Some(Breach::Reads(R7)));
    assert_eq!(breach(Uses::scratch().reads(R7), |a| a.mov(R1, R7)), None);
    assert_eq!(breach(Uses::scratch(), |a| a.load(Size::W, R1, FP, -8)), None);
    let on_one_way = |a: &mut Asm| {
        a.mov(R1, 0);
        a.if_(R1.equals(0), |a| a.mov(R2, 0));
        a.mov(R3, R2);
    };
    assert_eq!(breach(Uses::scratch(), on_one_way), Some(Breach::Reads(R2)));
    // A helper reads as many arguments as it takes.
    let call = |arguments| {
        move |a: &mut Asm| {
            a.mov(R1, 0);
            a.call(Helper::new(1, arguments));
        }
    };
    assert_eq!(breach(Uses::scratch(), call(1)), None);
    assert_eq!(breach(Uses::scratch(), call(2)), Some(Breach::Reads(R2)));
}

#[test]
fn what_is_given_must_be_written_on_every_path() {
    let on_one_path = |a: &mut Asm| a.if_(R7.equals(0), |a| a.mov(R1, 0));
    assert_eq!(breach(Uses::nothing().reads(R7).gives(R1), on_one_path), Some(Breach::Gives(R1)));
    let on_both = |a: &mut Asm| a.if_else(R7.equals(0), |a| a.mov(R1, 0), |a| a.mov(R1, 1));
    assert_eq!(breach(Uses::nothing().reads(R7).gives(R1), on_both), None);
    let lost = |a: &mut Asm| {
        a.mov(R1, 0);
        a.call(5);
    };
    assert_eq!(breach(Uses::scratch().gives(R1), lost), Some(Breach::Gives(R1)));
    assert_eq!(breach(Uses::scratch().gives(R0), lost), None);
    assert_eq!(breach(Uses::nothing().gives(R1), |_| ()), Some(Breach::Gives(R1)));
}

#[test]
fn a_jump_into_an_emitter_is_an_entry() {
    let build = |uses: Uses| {
        let mut a = Asm::new();
        let middle = a.label("middle");
        a.jump(Cond::Eq, R1, 0, middle);
        a.emitter("emitter", uses, |a| {
            a.mov(R2, 0);
            a.bind(middle);
            a.mov(R3, R2);
        });
        a.mov(R0, 0);
        a.exit();
        a.finish().err()
    };
    let error = build(Uses::nothing().writes([R2, R3]));
    assert!(matches!(error, Some(Error::BrokenContract { breach: Breach::Reads(R2), .. })), "{error:?}");
    assert_eq!(build(Uses::nothing().reads(R2).writes([R2, R3])), None);
}

#[test]
fn an_exit_in_between_promises_nothing() {
    let mut a = Asm::new();
    let out = a.label("out");
    a.emitter("emitter", Uses::nothing().reads(R1).gives(R2), |a| {
        a.require(R1.differs(0), out, "there is one");
        a.mov(R2, 0);
    });
    a.bind(out);
    a.mov(R0, 0);
    a.exit();
    a.finish().unwrap();
}

/// The breach is in an idiom, so the program's line and the breach's differ.
const LOSES: u32 = line!() + 6;

#[track_caller]
fn loses(a: &mut Asm, reg: Reg) {
    a.idiom("idiom", Uses::scratch(), |a| {
        a.mov(R1, 0);
        a.mov(reg, 1);
    });
}

#[test]
fn the_line_is_the_instructions_own_and_origins_the_callers() {
    let mut a = Asm::new();
    let line = line!() + 1;
    a.emitter("outer", Uses::scratch(), |a| loses(a, R2));
    a.exit();
    assert_eq!(a.finish().unwrap().origin(1).map(|at| at.line()), Some(line));

    let mut a = Asm::new();
    a.emitter("outer", Uses::scratch().writes(R8), |a| loses(a, R8));
    a.exit();
    let error = a.finish().unwrap_err();
    let Error::BrokenContract { emitter, declared, breach, at } = &error else { panic!("{error}") };
    assert_eq!((emitter.as_str(), *breach), ("outer/idiom", Breach::Writes(R8)));
    assert_eq!(at.line(), LOSES);
    assert_ne!(declared.line(), at.line());
    let text = error.to_string();
    assert!(text.contains("`outer/idiom`") && text.contains("writes r8") && text.contains(at.file()), "{text}");
}

#[test]
fn the_line_of_a_check_is_not_in_the_assembler() {
    let mut a = Asm::new();
    let out = a.here("out");
    let line = line!() + 1;
    a.emitter("emitter", Uses::nothing(), |a| a.require(R9.equals(0), out, "unset"));
    a.exit();
    let error = a.finish().unwrap_err();
    assert!(matches!(&error, Error::BrokenContract { at, .. } if at.line() == line && at.file() == file!()), "{error}");
}
