//! The shapes that the kernel checks on load; that it accepts them is tested on a real one.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::{DebugInfo, identifier};
use crate::asm::Reg::*;
use crate::asm::{Asm, Insn, Program};
use crate::uapi::debug_info::FUNC_INFO_SIZE;

fn program() -> (Program, u32) {
    let mut a = Asm::new();
    let sub = a.label("sub program");
    a.load_imm64(R2, 1);
    let line = line!() - 1;
    a.comment("why\nand why not");
    a.call_sub(sub);
    a.exit();
    a.bind(sub);
    a.mov(R0, 0);
    a.exit();
    (a.finish().unwrap(), line)
}

fn words<B: ByteOrder>(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(B::read_u32).collect()
}

/// The string at this offset of a little-endian blob.
fn string(info: &DebugInfo, offset: u32) -> String {
    let strings = 24 + LittleEndian::read_u32(&info.btf[16..20]) as usize;
    let bytes = info.btf[strings + offset as usize..].split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn header_and_sections_add_up() {
    let info = program().0.debug_info::<LittleEndian>("main").unwrap();
    assert_eq!(info.btf[..8], [0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
    let [type_off, type_len, str_off, str_len] = words::<LittleEndian>(&info.btf[8..24])[..] else { panic!() };
    assert_eq!((type_off, str_off), (0, type_len));
    assert_eq!(info.btf.len() as u32, 24 + type_len + str_len);
    // int, pointer, prototype with one argument, two functions.
    assert_eq!(type_len, 16 + 12 + 20 + 12 + 12);
    assert_eq!((info.btf[24 + type_len as usize], info.btf.last()), (0, Some(&0)));
}

#[test]
fn functions_carry_their_labels_as_identifiers() {
    let info = program().0.debug_info::<LittleEndian>("main").unwrap();
    assert_eq!(words::<LittleEndian>(&info.func_info), [0, 4, 4, 5]);
    let name = |start: usize| string(&info, LittleEndian::read_u32(&info.btf[start..]));
    assert_eq!((name(24 + 48), name(24 + 60)), ("main".into(), "sub_program".into()));
}

#[test]
fn lines_name_file_line_and_comment() {
    let (program, line) = program();
    let info = program.debug_info::<LittleEndian>("main").unwrap();
    let records: Vec<_> = words::<LittleEndian>(&info.line_info).chunks(4).map(<[u32]>::to_vec).collect();
    assert_eq!(records.iter().map(|record| record[0]).collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
    let lines: Vec<_> = records.iter().map(|record| record[3] >> 10).collect();
    assert_eq!(lines, [line, line + 3, line + 4, line + 6, line + 7]);
    assert!(records.iter().all(|record| string(&info, record[1]) == file!() && record[3] & 0x3ff == 7));
    assert_eq!(string(&info, records[1][2]), format!("{}:{}: why; and why not", file!(), line + 3));
}

#[test]
fn big_endian_has_the_same_numbers() {
    let program = program().0;
    let (little, big) = (program.debug_info::<LittleEndian>("x"), program.debug_info::<BigEndian>("x"));
    let (little, big) = (little.unwrap(), big.unwrap());
    assert_eq!(words::<LittleEndian>(&little.line_info), words::<BigEndian>(&big.line_info));
    assert_eq!(words::<LittleEndian>(&little.func_info), words::<BigEndian>(&big.func_info));
    assert_eq!(big.btf[..2], [0xeb, 0x9f]);
}

#[test]
fn a_program_of_unknown_origin_has_none() {
    let exit = Insn { code: 0x95, ..Insn::default() };
    assert_eq!(Program::from_insns(vec![exit]).debug_info::<LittleEndian>("main"), None);
    assert_eq!(Program::default().debug_info::<LittleEndian>("main"), None);
}

#[test]
fn a_call_into_nowhere_is_not_a_function() {
    let mut a = Asm::new();
    a.raw(Insn { code: 0x85, src: 1, imm: 70, ..Insn::default() });
    a.raw(Insn { code: 0x85, src: 1, imm: -70, ..Insn::default() });
    let info = a.finish().unwrap().debug_info::<LittleEndian>("main").unwrap();
    assert_eq!(info.func_info.len(), FUNC_INFO_SIZE);
}

#[test]
fn names_become_identifiers() {
    for (name, expected) in [("a-b c", "a_b_c"), ("9lives", "_lives"), ("", "_"), ("é", "_")] {
        assert_eq!(identifier(name), expected);
    }
    assert_eq!(identifier(&"x".repeat(500)).len(), 127);
}
