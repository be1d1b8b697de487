//! Objects that are made to cost much time or memory when they are read.

use object::elf::R_BPF_64_64;
use object::{SectionKind, SymbolKind, SymbolScope};

use sidestep::asm::Insn;
use sidestep::btf::{BtfBuilder, Linkage};
use sidestep::verifier_sim::elf::{ElfError, ElfProgram, KernelConfig, Target, read_for, read_on};
use sidestep::verifier_sim::types::KernelTypes;

use crate::elf::{EXIT, WIDE, Writer, bytes, i};

/// Functions, and instructions that each of them has.
const FUNCTIONS: usize = 1000;
const SLOTS: usize = 10_000;

/// An object with a function for each of `FUNCTIONS`, all of which are the same instructions. Each instruction asks for a field that the
/// kernel does not have, and the last one for `last`.
fn repeated(last: u32) -> Vec<ElfProgram> {
    let mut btf = <BtfBuilder>::new();
    let int = btf.int("int", 4, true);
    let long = "x".repeat(500);
    let absent = btf.structure("absent", 4, &[(long.as_str(), int, 0)]);
    let (section, access) = (btf.string("socket"), btf.string("0:0"));
    // The size of a record, the section, the number of records, and the records.
    let mut words = vec![16, section, SLOTS as u32];
    for slot in 0..SLOTS as u32 {
        words.extend([slot * 8, absent, access, if slot + 1 == SLOTS as u32 { last } else { 0 }]);
    }
    let header = [32, 0, 0, 0, 0, 0, words.len() as u32 * 4];
    let mut ext = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    ext.extend(header.into_iter().chain(words).flat_map(u32::to_ne_bytes));

    let mut writer = Writer::new();
    writer.section(".BTF", SectionKind::Other, &btf.finish());
    writer.section(".BTF.ext", SectionKind::Other, &ext);
    let code = writer.section("socket", SectionKind::Text, &bytes(&[i(0xb7, 0, 0, 0, 0); SLOTS]));
    for number in 0..FUNCTIONS {
        writer.function(&format!("f{number}"), code, 0, SLOTS as u64 * 8);
    }
    let kernel = KernelTypes::parse(<BtfBuilder>::new().finish()).unwrap();
    read_for(&writer.finish(), None, Some(Box::leak(Box::new(kernel)))).unwrap()
}

/// What each program keeps of its relocations is bounded, and so is what all of them keep.
#[test]
fn relocations_take_little_memory() {
    let programs = repeated(0);
    let linked: Vec<_> = programs.iter().filter(|program| program.spec.is_ok()).collect();
    assert!((10..200).contains(&linked.len()), "{}", linked.len());
    for program in linked {
        let relocations = &program.relocations;
        assert_eq!((relocations.applied, relocations.unresolved.len(), relocations.unlisted), (0, 1000, SLOTS - 1000));
        let what = &relocations.unresolved[0].what;
        assert!(what.starts_with("field_byte_offset of struct absent.xxx") && what.len() < 210, "{what}");
    }
    let rest = programs.iter().filter(|program| matches!(program.spec, Err(ElfError::TooLong(_))));
    assert!(rest.count() > FUNCTIONS - 200);
}

/// Programs that cannot be linked are looked at no longer than others, and nothing of their relocations is kept.
#[test]
fn programs_that_cannot_be_linked_count_too() {
    let programs = repeated(13);
    assert!(programs.iter().all(|program| program.relocations == Default::default()));
    let failed = programs.iter().filter(|program| matches!(program.spec, Err(ElfError::CoreRelocation { .. }))).count();
    assert!((10..200).contains(&failed), "{failed}");
    let Err(error) = &programs[0].spec else { panic!("the last relocation is of no kind") };
    assert!(error.to_string().contains("relocation of kind 13"), "{error}");
    let rest = programs.iter().filter(|program| matches!(program.spec, Err(ElfError::TooLong(_)))).count();
    assert_eq!(failed + rest, FUNCTIONS);
}

/// An object that asks for options of every type, with these bytes of BTF.
fn options(btf: &[u8]) -> Vec<u8> {
    let mut insns: Vec<Insn> = Vec::new();
    for _ in OPTIONS {
        insns.extend(WIDE);
    }
    insns.extend([i(0xb7, 0, 0, 0, 0), EXIT]);
    let mut writer = Writer::new();
    writer.section(".BTF", SectionKind::Other, btf);
    let section = writer.section("socket", SectionKind::Text, &bytes(&insns));
    for (number, name) in OPTIONS.into_iter().enumerate() {
        let symbol = writer.symbol(name, None, (0, 0), SymbolKind::Unknown, SymbolScope::Linkage);
        writer.object.symbol_mut(symbol).weak = true;
        writer.relocate(section, number as u64 * 16, R_BPF_64_64, symbol);
    }
    writer.finish()
}

const OPTIONS: [&str; 6] =
    ["CONFIG_INT", "CONFIG_CHAR", "CONFIG_TEXT", "CONFIG_STATE", "CONFIG_BYTE", "LINUX_KERNEL_VERSION"];

/// Every byte of the types of options is every type's ID once: arrays become arrays of themselves, for example.
#[test]
fn types_of_options_that_are_changed_are_answered() {
    let mut btf = <BtfBuilder>::new();
    let (int, char) = (btf.int("int", 4, true), btf.int("char", 1, true));
    let byte = btf.int("unsigned char", 1, false);
    let text = btf.array(char, int, 8);
    let state = btf.wide_enumeration("libbpf_tristate", &[]);
    let types = [int, char, text, state, byte, int];
    let parts: Vec<_> =
        OPTIONS.into_iter().zip(types).map(|(name, of)| (btf.variable(name, of, Linkage::Global), 0, 0)).collect();
    let last = btf.section(".kconfig", 0, &parts) as u8;
    let btf = btf.finish();
    let config =
        KernelConfig::parse("CONFIG_INT=-7\nCONFIG_CHAR=m\nCONFIG_TEXT=\"text\"\nCONFIG_STATE=y\nCONFIG_BYTE=200\n");
    let read = |btf: &[u8]| {
        let programs = read_on(&options(btf), None, Target { config: Some(&config), ..Target::default() });
        programs.map(|mut programs| programs.remove(0).spec)
    };
    assert!(read(&btf).unwrap().is_ok());
    let mut refused = 0;
    for at in 0..btf.len() {
        for id in 0..=last + 1 {
            let mut changed = btf.clone();
            changed[at] = id;
            refused += usize::from(matches!(read(&changed), Ok(Err(ElfError::Kconfig { .. }))));
        }
    }
    // An array of itself is not a type that an option has.
    assert!(refused > 100, "{refused}");
    let mut endless = btf.clone();
    let array = place(&btf, &[char, int, 8].map(u32::to_ne_bytes).concat());
    endless[array..array + 4].copy_from_slice(&text.to_ne_bytes());
    let Err(error) = read(&endless).unwrap() else { panic!("it is a text") };
    assert!(error.to_string().contains("\"CONFIG_TEXT\" asks") && error.to_string().contains("char[]"), "{error}");
}

/// Where these bytes are.
fn place(all: &[u8], wanted: &[u8]) -> usize {
    all.windows(wanted.len()).position(|window| window == wanted).unwrap()
}
