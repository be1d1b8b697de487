//! Text and slots are two views of the same program, and no input makes either side panic.

use byteorder::LittleEndian;
use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Insn, Listing, disassemble, parse_program, write_text};

use crate::strategies::{Call, call, insns, make};

fn text(insns: &[Insn]) -> String {
    let mut out = Vec::new();
    write_text(insns, &mut out).expect("a vector takes any number of bytes");
    String::from_utf8(out).expect("the disassembler writes ASCII")
}

/// The calls as a program; labels point back to its start or forward to its end.
fn built(calls: &[(Call, bool)]) -> Result<sidestep::asm::Program, sidestep::asm::Error> {
    let mut a = Asm::new();
    let start = a.here("start");
    let end = a.label("the end");
    for (index, (call, back)) in calls.iter().enumerate() {
        if index % 5 == 0 {
            a.comment(format!("number {index}\nsecond line"));
        }
        make(&mut a, call, if *back { start } else { end });
    }
    a.bind(end);
    a.exit();
    a.finish()
}

proptest! {
    /// Real instructions need no help: the kernel's words alone say all of their bits.
    #[test]
    fn instructions_survive_text(calls in vec((call(), any::<bool>()), 0..40)) {
        let program = built(&calls)?;
        let text = text(program.insns());
        prop_assert!(!text.contains(".slot"), "{}", text);
        prop_assert_eq!(&parse_program(&text)?, program.insns());
    }

    #[test]
    fn listings_can_be_read_back(calls in vec((call(), any::<bool>()), 0..40)) {
        let program = built(&calls)?;
        let mut out = Vec::new();
        Listing::new(&program).write(&mut out)?;
        prop_assert_eq!(&parse_program(&String::from_utf8(out)?)?, program.insns());
    }

    #[test]
    fn any_slots_survive_text(insns in insns()) {
        prop_assert_eq!(&parse_program(&text(&insns))?, &insns);
    }

    /// The words of the log, too: each is either refused or means an instruction that has the same words.
    #[test]
    fn words_mean_what_they_say(insns in insns()) {
        for (_, disasm) in disassemble(&insns) {
            if let Ok(parsed) = parse_program(&disasm.to_string()) {
                let again = disassemble(&parsed).map(|(_, disasm)| disasm.to_string()).collect::<Vec<_>>();
                prop_assert_eq!(again, [disasm.to_string()]);
            }
        }
    }

    #[test]
    fn any_bytes_can_be_disassembled(bytes in vec(any::<u8>(), 0..200)) {
        let whole = bytes.len() / 8 * 8;
        let insns = sidestep::asm::decode_program::<LittleEndian>(&bytes[..whole])?;
        let slots: usize = disassemble(&insns).map(|(_, disasm)| {
            assert!(!disasm.to_string().is_empty());
            disasm.slots()
        }).sum();
        prop_assert_eq!(slots, insns.len());
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        if let Err(error) = parse_program(&text) {
            prop_assert!(error.line <= text.lines().count());
        }
    }

    /// A character changed in good text: refused within its bounds, or read as a program that can be written again.
    #[test]
    fn damaged_text_is_parsed_or_refused(
        calls in vec((call(), any::<bool>()), 1..8),
        at in any::<prop::sample::Index>(),
        new in prop_oneof![any::<char>(), proptest::sample::select(&['(', ')', ' ', '0', '-', 'r', 'x'][..])],
    ) {
        let program = built(&calls)?;
        let mut damaged: Vec<char> = text(program.insns()).chars().collect();
        let at = at.index(damaged.len());
        damaged[at] = new;
        let damaged: String = damaged.into_iter().collect();
        match parse_program(&damaged) {
            Ok(insns) => prop_assert_eq!(&parse_program(&text(&insns))?, &insns),
            Err(error) => {
                let line = damaged.lines().nth(error.line - 1);
                let length = line.map(|line| line.chars().count());
                prop_assert!(length.is_some_and(|length| error.column <= length + 1), "{}", error);
            }
        }
    }
}
