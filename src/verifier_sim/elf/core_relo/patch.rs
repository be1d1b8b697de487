//! Changing the instruction that a relocation refers to (`bpf_core_patch_insn` of libbpf).

use super::decision::Decision;
use super::fault::Fault;
use crate::asm::{Insn, opcode as op};

/// libbpf's number of the helper that stands for what the kernel's types do not have. No kernel has that helper, so a program in
/// which the call can be reached is refused (0xbad2310).
pub(super) const NO_SUCH_HELPER: i32 = 195_896_080;

/// Whether the instruction got a value, or a call that must not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patched {
    Applied,
    Poisoned,
}

/// Applies `decision` to the instruction at `slot`.
pub(super) fn apply(insns: &mut [Insn], slot: usize, decision: &Decision) -> Result<Patched, Fault> {
    let place = || Fault::refused("it does not point to an instruction");
    let (first, rest) = insns.get_mut(slot..).and_then(<[Insn]>::split_first_mut).ok_or_else(place)?;
    // libbpf looks at the kind of the instruction only if there is a value.
    let Some(number) = decision.number else { return Ok(poison(first, rest)) };
    match first.code & op::CLASS_MASK {
        op::ALU | op::ALU64 if first.code & op::X == 0 => immediate(first, decision, number),
        op::LDX | op::ST | op::STX => memory(first, decision, number),
        op::LD if first.is_wide() => {
            let second =
                rest.first_mut().filter(|second| (second.code, second.dst, second.src, second.off) == (0, 0, 0, 0));
            match second {
                Some(second) if (first.src, first.off) == (0, 0) => wide([first, second], decision, number),
                _ => Err(Fault::refused("it points to a 64-bit load that does not load a number")),
            }
        }
        _ => Err(Fault::refused("it points to an instruction that has no place for its value")),
    }
}

/// The value must be what the compiler put there.
fn check(decision: &Decision, found: u64) -> Result<(), Fault> {
    match decision.expected.filter(|expected| *expected != found) {
        None => Ok(()),
        Some(expected) => {
            Err(Fault::refused(format!("the instruction has {found}, and by the object's BTF it is {expected}")))
        }
    }
}

fn immediate(insn: &mut Insn, decision: &Decision, number: u64) -> Result<Patched, Fault> {
    check(decision, insn.imm as u64)?;
    insn.imm = number as i32;
    Ok(Patched::Applied)
}

fn memory(insn: &mut Insn, decision: &Decision, number: u64) -> Result<Patched, Fault> {
    check(decision, insn.off as u64)?;
    let offset = i16::try_from(number).map_err(|_| Fault::refused("the offset of the field is larger than 32,767"))?;
    if decision.resize.is_some_and(|resize| !resize.is_sound) {
        return Ok(poison(insn, &mut []));
    }
    let code = match decision.resize {
        Some(resize) => {
            if bytes(insn.code) != resize.from {
                return Err(Fault::refused(format!(
                    "the instruction does not access the {} bytes of the field",
                    resize.from
                )));
            }
            let size = size_bits(resize.to);
            let size =
                size.ok_or_else(|| Fault::refused(format!("no load takes the {} bytes of the field", resize.to)))?;
            insn.code & !op::SIZE_MASK | size
        }
        None => insn.code,
    };
    (insn.code, insn.off) = (code, offset);
    Ok(Patched::Applied)
}

fn wide([first, second]: [&mut Insn; 2], decision: &Decision, number: u64) -> Result<Patched, Fault> {
    check(decision, u64::from(second.imm as u32) << 32 | u64::from(first.imm as u32))?;
    (first.imm, second.imm) = (number as i32, (number >> 32) as i32);
    Ok(Patched::Applied)
}

/// Makes `first` a call that no kernel takes, and also the second slot if it has one.
fn poison(first: &mut Insn, rest: &mut [Insn]) -> Patched {
    let call = Insn { code: op::JMP | op::CALL, dst: 0, src: 0, off: 0, imm: NO_SUCH_HELPER };
    if let (true, Some(second)) = (first.is_wide(), rest.first_mut()) {
        *second = call;
    }
    *first = call;
    Patched::Poisoned
}

fn bytes(code: u8) -> u32 {
    match code & op::SIZE_MASK {
        op::B => 1,
        op::H => 2,
        op::W => 4,
        _ => 8,
    }
}

fn size_bits(bytes: u32) -> Option<u8> {
    Some(match bytes {
        1 => op::B,
        2 => op::H,
        4 => op::W,
        8 => op::DW,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier_sim::elf::core_relo::decision::Resize;

    const MOV: u8 = op::ALU64 | op::MOV;
    const LOAD: u8 = op::LDX | op::MEM;
    const WIDE: u8 = op::LD | op::IMM | op::DW;

    fn insn(code: u8, off: i16, imm: i32) -> Insn {
        Insn { code, dst: 1, src: 0, off, imm }
    }

    fn decision(expected: u64, number: u64) -> Decision {
        Decision { expected: Some(expected), number: Some(number), resize: None }
    }

    fn patched(insn: Insn, decision: &Decision) -> Result<(Insn, Patched), Fault> {
        let mut insns = [insn, Insn::default()];
        let patched = apply(&mut insns, 0, decision)?;
        Ok((insns[0], patched))
    }

    #[test]
    fn the_value_goes_where_the_instruction_has_one() {
        let applied = |insn| Ok((insn, Patched::Applied));
        assert_eq!(patched(insn(MOV, 0, 8), &decision(8, 16)), applied(insn(MOV, 0, 16)));
        assert_eq!(patched(insn(op::ALU | op::ADD, 0, 8), &decision(8, 16)), applied(insn(op::ALU | op::ADD, 0, 16)));
        assert_eq!(patched(insn(MOV, 0, -1), &decision(u64::MAX, 1)), applied(insn(MOV, 0, 1)));
        for class in [op::LDX, op::ST, op::STX] {
            let code = class | op::MEM | op::W;
            assert_eq!(patched(insn(code, 8, 5), &decision(8, 16)), applied(insn(code, 16, 5)));
        }
        let mut wide = [insn(WIDE, 0, 8), Insn { imm: 1, ..Insn::default() }];
        apply(&mut wide, 0, &decision(1 << 32 | 8, 2 << 32 | 0xffff_ffff)).unwrap();
        assert_eq!(wide, [insn(WIDE, 0, -1), Insn { imm: 2, ..Insn::default() }]);
    }

    #[test]
    fn what_the_kernel_has_not_must_not_be_reached() {
        let nothing = Decision { expected: Some(77), number: None, resize: None };
        let call = Insn { code: 0x85, imm: 195_896_080, ..Insn::default() };
        for code in [MOV, LOAD | op::W, op::STX | op::MEM | op::DW] {
            assert_eq!(patched(insn(code, 8, 8), &nothing), Ok((call, Patched::Poisoned)));
        }
        // Also a load of a map, a jump, and half a load.
        for src in [0, op::PSEUDO_MAP_FD] {
            let mut wide = [Insn { src, ..insn(WIDE, 0, 8) }, Insn::default(), insn(MOV, 0, 3)];
            assert_eq!(apply(&mut wide, 0, &nothing), Ok(Patched::Poisoned));
            assert_eq!(wide, [call, call, insn(MOV, 0, 3)]);
        }
        assert_eq!(patched(insn(op::JMP | op::JEQ, 8, 8), &nothing), Ok((call, Patched::Poisoned)));
        let mut half = [insn(WIDE, 0, 8)];
        assert_eq!((apply(&mut half, 0, &nothing), half), (Ok(Patched::Poisoned), [call]));
    }

    #[test]
    fn a_load_takes_the_size_of_the_field() {
        let resize = |from, to, is_sound| Decision { resize: Some(Resize { from, to, is_sound }), ..decision(8, 16) };
        let (word, double) = (insn(LOAD | op::W, 8, 0), insn(LOAD | op::DW, 16, 0));
        assert_eq!(patched(word, &resize(4, 8, true)), Ok((double, Patched::Applied)));
        assert_eq!(patched(word, &resize(4, 8, false)).unwrap().1, Patched::Poisoned);
        // An immediate has no size.
        assert_eq!(patched(insn(MOV, 0, 8), &resize(4, 8, false)), Ok((insn(MOV, 0, 16), Patched::Applied)));
        assert!(patched(word, &resize(2, 8, true)).is_err() && patched(word, &resize(4, 12, true)).is_err());
    }

    #[test]
    fn wrong_instructions_are_refused() {
        let decision = decision(8, 16);
        let jump = insn(op::JMP | op::JEQ, 8, 8);
        for wrong in [jump, insn(MOV | op::X, 8, 8), insn(MOV, 0, 9), insn(LOAD, 9, 0), insn(op::LD | op::ABS, 8, 8)] {
            assert!(patched(wrong, &decision).is_err(), "{wrong:?}");
        }
        assert!(apply(&mut [insn(WIDE, 0, 8)], 0, &decision).is_err());
        assert!(apply(&mut [insn(WIDE, 0, 8), insn(0, 0, 0)], 0, &decision).is_err());
        assert!(apply(&mut [Insn { src: 1, ..insn(WIDE, 0, 8) }, Insn::default()], 0, &decision).is_err());
        assert!(apply(&mut [], 0, &decision).is_err() && apply(&mut [jump], usize::MAX, &decision).is_err());
        let far = Decision { number: Some(32_768), ..decision };
        assert!(patched(insn(LOAD | op::W, 8, 0), &far).is_err());
    }
}
