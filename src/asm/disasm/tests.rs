//! Judged by the kernel's own words in `fixtures/asm/verifier_text.txt`.

use byteorder::LittleEndian;

use super::{Disasm, disassemble};
use crate::asm::{Insn, decode_program, parse_program, write_text};

const VERIFIER_TEXT: &str = include_str!("../../../fixtures/asm/verifier_text.txt");

/// The slots and the text of each line of the fixture.
fn recorded() -> impl Iterator<Item = (Vec<Insn>, &'static str)> {
    VERIFIER_TEXT.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (hex, text) = line.split_once(' ').unwrap();
        let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        (decode_program::<LittleEndian>(&digits.collect::<Vec<_>>()).unwrap(), text)
    })
}

#[test]
fn says_what_the_kernel_says() {
    let mut opcodes = std::collections::BTreeSet::new();
    for (insns, text) in recorded() {
        assert_eq!(Disasm::at(&insns, 0).unwrap().to_string(), text);
        opcodes.insert(insns[0].code);
    }
    // Every opcode there is: LD 7, LDX 7, ST 4, STX 8, ALU 27, JMP 26, JMP32 23, ALU64 26.
    assert_eq!(opcodes.len(), 128, "{opcodes:02x?}");
}

#[test]
fn the_parser_reads_the_kernels_words() {
    for (insns, text) in recorded() {
        assert_eq!(parse_program(text).unwrap(), insns, "{text}");
        let bare = text.split_once(") ").unwrap().1;
        assert_eq!(parse_program(bare).unwrap(), insns, "{bare}");
    }
}

fn text(insns: &[Insn]) -> String {
    let mut out = Vec::new();
    write_text(insns, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn wide_loads_say_what_they_refer_to() {
    let load = |src, imm, high| [Insn { code: 0x18, dst: 1, src, off: 0, imm }, Insn { imm: high, ..Insn::default() }];
    for (src, imm, high, expected) in [
        (0, -1, 0x1234, "0: (18) r1 = 0x1234ffffffff\n"),
        (1, 3, 0, "0: (18) r1 = map[fd:3]\n"),
        (2, 3, 8, "0: (18) r1 = map[fd:3][0]+8\n"),
        (3, 77, 0, "0: (18) r1 = btf[id:77]\n"),
        (4, 5, 0, "0: (18) r1 = subprog[+5]\n"),
        (5, 0, 0, "0: (18) r1 = map[idx:0]\n"),
        (6, 1, -1, "0: (18) r1 = map[idx:1][0]+4294967295\n"),
    ] {
        assert_eq!(text(&load(src, imm, high)), expected);
        assert_eq!(parse_program(expected).unwrap(), load(src, imm, high));
    }
}

/// What is not an instruction reads as in the kernel's printer, and its slot keeps its bits.
#[test]
fn nonsense_is_named_and_kept() {
    for (code, imm, expected) in [
        (0x00, 0, "BUG_ld_00"),
        (0x18, 0, "BUG_ld_18"),
        (0x01, 0, "BUG_ldx_01"),
        (0x99, 0, "BUG_ldx_99"),
        (0x02, 0, "BUG_st_02"),
        (0xc2, 0, "(c2) nospec"),
        (0x03, 0, "BUG_03"),
        (0xdb, 0x20, "BUG_db"),
        (0xdb, -1, "BUG_db"),
        (0xe7, 9, "(e7) r0 (null) 9"),
        (0xf5, 1, "(f5) if r0 (null) 0x1 goto pc+0"),
        (0x8d, 1, "(8d) call bpf_map_lookup_elem#1"),
    ] {
        let insns = [Insn { code, imm, ..Insn::default() }];
        assert_eq!(Disasm::at(&insns, 0).unwrap().to_string(), expected);
        assert!(text(&insns).starts_with("0: .slot "), "{}", text(&insns));
        assert_eq!(parse_program(&text(&insns)).unwrap(), insns);
    }
}

#[test]
fn fields_that_the_words_leave_out_keep_their_bits() {
    let exit = Insn { code: 0x95, imm: 7, ..Insn::default() };
    assert_eq!(disassemble(&[exit]).next().unwrap().1.to_string(), "(95) exit");
    assert_eq!(text(&[exit]), "0: .slot 9500000007000000 ; (95) exit\n");
    let negation = Insn { code: 0x87, imm: 5, ..Insn::default() };
    assert_eq!(text(&[negation]), "0: .slot 8700000005000000 ; (87) r0 = -r0\n");
    let wide = [Insn { code: 0x18, ..Insn::default() }, Insn { dst: 3, ..Insn::default() }];
    assert_eq!(text(&wide), "0: .slot 1800000000000000 ; (18) r0 = 0x0\n1: .slot 0003000000000000\n");
    assert_eq!(parse_program(&text(&wide)).unwrap(), wide);
}

#[test]
fn distances_of_all_that_points() {
    let distance = |text: &str| Disasm::at(&parse_program(text).unwrap(), 0).unwrap().distance();
    assert_eq!(distance("if r1 == 0x0 goto pc-5"), Some(-5));
    assert_eq!(distance("gotol pc+70000"), Some(70000));
    assert_eq!(distance("may_goto pc+2"), Some(2));
    assert_eq!(distance("call pc-3"), Some(-3));
    assert_eq!(distance("r1 = subprog[+9]"), Some(9));
    assert_eq!(distance("call bpf_map_lookup_elem#1"), None);
    assert_eq!(distance("exit"), None);
    assert_eq!(distance("r1 = 5"), None);
}
