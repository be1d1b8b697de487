//! Any bytes, in either byte order: decoding, disassembly and debug records never panic, and nothing is lost on the way.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use sidestep::asm::{Cfg, Dialect, Insn, Listing, Program, decode_program, disassemble};

fn round_trip<B: ByteOrder>(bytes: &[u8]) {
    let Ok(insns) = decode_program::<B>(bytes) else {
        assert_ne!(bytes.len() % Insn::SIZE, 0, "whole slots were refused");
        return;
    };
    let encoded: Vec<u8> = insns.iter().flat_map(|insn| insn.encode::<B>()).collect();
    assert_eq!(encoded, bytes);
    assert_eq!(disassemble(&insns).map(|(_, disasm)| disasm.slots()).sum::<usize>(), insns.len());
    for (_, dialect) in Dialect::ALL {
        let mut text = Vec::new();
        dialect.write(&insns, &mut text).expect("a vector takes any number of bytes");
        let text = String::from_utf8(text).expect("the disassembler writes ASCII");
        assert_eq!(dialect.parse(&text).expect("the parser reads the disassembler's text"), insns);
    }
    let program = Program::from_insns(insns);
    let cfg = Cfg::of(&program);
    assert_eq!(cfg.blocks().iter().map(|block| block.slots.len()).sum::<usize>(), program.insns().len());
    cfg.write_dot(&program, "any", &mut std::io::sink()).expect("a sink takes any number of bytes");
    Listing::new(&program).hex(true).write(&mut std::io::sink()).expect("a sink takes any number of bytes");
}

/// Checks one input.
pub(crate) fn check(bytes: &[u8]) {
    round_trip::<LittleEndian>(bytes);
    round_trip::<BigEndian>(bytes);
    // The same bytes as text: an error is fine, a panic is not.
    if let Ok(text) = std::str::from_utf8(bytes) {
        for (_, dialect) in Dialect::ALL {
            let _refused_or_read = dialect.parse(text);
        }
    }
}
