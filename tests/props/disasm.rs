//! Text and slots are two views of the same program, and no input makes either side panic.

use byteorder::LittleEndian;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sidestep::asm::{Asm, Dialect, Insn, Listing, disassemble};

use crate::strategies::{Call, call, insns, make};

fn text(dialect: Dialect, insns: &[Insn]) -> String {
    let mut out = Vec::new();
    dialect.write(insns, &mut out).expect("a vector takes any number of bytes");
    String::from_utf8(out).expect("the disassembler writes ASCII")
}

fn dialect() -> impl Strategy<Value = Dialect> {
    select(&[Dialect::Kernel, Dialect::Llvm][..])
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
        let text = text(Dialect::Kernel, program.insns());
        prop_assert!(!text.contains(".slot"), "{}", text);
        prop_assert_eq!(&Dialect::Kernel.parse(&text)?, program.insns());
    }

    /// LLVM's words leave out little: the offset of an indirect packet access, kernel functions, offsets in values of maps,
    /// and calls of numbers that no helper has.
    #[test]
    fn instructions_survive_the_words_of_llvm(calls in vec((call(), any::<bool>()), 0..40)) {
        let program = built(&calls)?;
        let text = text(Dialect::Llvm, program.insns());
        prop_assert_eq!(&Dialect::Llvm.parse(&text)?, program.insns());
        for line in text.lines().filter(|line| line.contains(".byte")) {
            let [slot] = Dialect::Llvm.parse(line.split_once(": ").map_or("", |(_, text)| text))?[..] else {
                prop_assert!(line.contains("# ld_pseudo"), "{}", line);
                continue;
            };
            let call = slot.code == 0x85 && (slot.src == 2 || slot.src == 0 && slot.imm < 0);
            let packet = slot.code & 0xe7 == 0x40 && slot.imm != 0;
            prop_assert!(call || packet, "{}", line);
        }
    }

    #[test]
    fn listings_can_be_read_back(calls in vec((call(), any::<bool>()), 0..40), dialect in dialect()) {
        let program = built(&calls)?;
        let mut out = Vec::new();
        Listing::new(&program).dialect(dialect).write(&mut out)?;
        prop_assert_eq!(&dialect.parse(&String::from_utf8(out)?)?, program.insns());
    }

    #[test]
    fn any_slots_survive_text(insns in insns(), dialect in dialect()) {
        prop_assert_eq!(&dialect.parse(&text(dialect, &insns))?, &insns);
    }

    /// The words of the log, too: each is either refused or means an instruction that has the same words.
    #[test]
    fn words_mean_what_they_say(insns in insns(), dialect in dialect()) {
        for (_, disasm) in disassemble(&insns) {
            if let Ok(parsed) = dialect.parse(&dialect.text(disasm)) {
                let again = disassemble(&parsed).map(|(_, disasm)| dialect.text(disasm)).collect::<Vec<_>>();
                prop_assert_eq!(again, [dialect.text(disasm)]);
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
    fn any_text_is_parsed_or_refused(text in any::<String>(), dialect in dialect()) {
        if let Err(error) = dialect.parse(&text) {
            prop_assert!(error.line <= text.lines().count());
        }
    }

    /// A character changed in good text: refused within its bounds, or read as a program that can be written again.
    #[test]
    fn damaged_text_is_parsed_or_refused(
        calls in vec((call(), any::<bool>()), 1..8),
        at in any::<prop::sample::Index>(),
        new in prop_oneof![any::<char>(), select(&['(', ')', ' ', '0', '-', 'r', 'x', 'w', '<'][..])],
        dialect in dialect(),
    ) {
        let program = built(&calls)?;
        let mut damaged: Vec<char> = text(dialect, program.insns()).chars().collect();
        let at = at.index(damaged.len());
        damaged[at] = new;
        let damaged: String = damaged.into_iter().collect();
        match dialect.parse(&damaged) {
            Ok(insns) => prop_assert_eq!(&dialect.parse(&text(dialect, &insns))?, &insns),
            Err(error) => {
                let line = damaged.lines().nth(error.line - 1);
                let length = line.map(|line| line.chars().count());
                prop_assert!(length.is_some_and(|length| error.column <= length + 1), "{}", error);
            }
        }
    }
}
