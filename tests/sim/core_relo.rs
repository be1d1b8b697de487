//! Objects with CO-RE relocations, as clang writes them (fixtures/core_relo).

use byteorder::LittleEndian;
use proptest::prelude::*;

use sidestep::verifier_sim::elf::{ElfError, ElfProgram, read, read_for};
use sidestep::verifier_sim::spec::Options;
use sidestep::verifier_sim::types::KernelTypes;
use sidestep::verifier_sim::{verify, verify_with_log};

const IS_BIG: bool = cfg!(target_endian = "big");

/// The fixture for this machine's byte order.
macro_rules! fixture {
    ($name:literal, $end:literal) => {
        if IS_BIG {
            include_bytes!(concat!("../../fixtures/core_relo/", $name, ".eb.", $end)).as_slice()
        } else {
            include_bytes!(concat!("../../fixtures/core_relo/", $name, ".el.", $end)).as_slice()
        }
    };
}

const PROGRAM: &[u8] = fixture!("program", "o");
const AMBIGUOUS: &[u8] = fixture!("ambiguous", "o");
const KERNEL: &[u8] = fixture!("kernel", "btf");

fn types(btf: &[u8]) -> Option<&'static KernelTypes> {
    KernelTypes::parse(btf.to_vec()).ok().map(|types| &*Box::leak(Box::new(types)))
}

fn programs() -> Vec<ElfProgram> {
    read_for(PROGRAM, None, types(KERNEL)).unwrap()
}

/// On a big-endian machine some shifts have other values, so only little-endian ones can be compared with what libbpf once did.
#[test]
#[cfg(target_endian = "little")]
fn instructions_are_those_that_libbpf_makes() {
    let all = include_str!("../../fixtures/core_relo/libbpf.txt");
    let ours: Vec<String> = programs()
        .iter()
        .map(|program| {
            let insns = &program.spec.as_ref().unwrap().insns;
            let bytes = insns.iter().flat_map(|insn| insn.encode::<LittleEndian>());
            format!("{} {}", program.name, bytes.map(|byte| format!("{byte:02x}")).collect::<String>())
        })
        .collect();
    assert_eq!(all.lines().collect::<Vec<_>>(), ours);
}

#[test]
fn relocations_are_counted() {
    let found: Vec<_> = programs()
        .into_iter()
        .map(|program| (program.name, program.relocations.applied, program.relocations.unresolved.len()))
        .collect();
    let wanted = [
        ("loads", 2, 0),
        ("offsets", 7, 0),
        ("sizes", 4, 0),
        ("bits", 12, 0),
        ("exist", 4, 0),
        ("types", 10, 0),
        ("ids", 3, 0),
        ("values", 6, 0),
        ("guarded", 1, 1),
        ("unguarded", 0, 1),
        ("missing_value", 0, 1),
        ("agreed", 1, 0),
    ];
    assert_eq!(found, wanted.map(|(name, applied, unresolved)| (name.to_owned(), applied, unresolved)));
    let guarded = programs().remove(8).relocations.unresolved.remove(0);
    assert_eq!((guarded.insn, guarded.what.as_str()), (3, "field_byte_offset of struct moved.absent"));
}

/// What the kernel does not have must not be reached.
#[test]
fn a_guard_keeps_a_program_from_what_is_missing() {
    for program in programs() {
        let (verdict, log) = verify_with_log(program.spec.as_ref().unwrap(), &Options::default());
        match program.name.as_str() {
            "unguarded" | "missing_value" => {
                assert!(verdict.reason().contains("invalid func unknown#195896080"), "{}", verdict.reason());
                assert!(log.contains("call unknown#195896080"), "{log}");
            }
            name => assert!(verdict.is_accept(), "{name}: {}\n{log}", verdict.reason()),
        }
    }
}

#[test]
fn without_the_kernels_types_only_local_ones_are_known() {
    for program in read(PROGRAM, None).unwrap() {
        let error = program.spec.unwrap_err();
        assert!(error.needs_more() && error.to_string().contains("--btf FILE"), "{}: {error}", program.name);
    }
    assert!(!ElfError::NotElf.needs_more());
}

#[test]
fn types_of_one_name_must_agree() {
    let program = read_for(AMBIGUOUS, None, types(KERNEL)).unwrap().remove(0);
    let error = program.spec.unwrap_err();
    let ElfError::CoreRelocation { what, why, .. } = &error else { panic!("{error}") };
    assert_eq!(what, "field_byte_offset of struct twice.apart");
    assert!(why.contains("lead to 8 and to 12") && !error.needs_more(), "{error}");
}

/// Where the bytes of a section are in the object.
fn place(object: &[u8], start: &[u8]) -> usize {
    object.windows(start.len()).position(|window| window == start).unwrap()
}

/// The contents of `.BTF.ext` begin so: the magic number and the length of the header, 32.
fn ext() -> usize {
    let start = [[0xeb9f_u16.to_ne_bytes(), [1, 0]].concat(), 32_u32.to_ne_bytes().to_vec()].concat();
    place(PROGRAM, &start)
}

#[test]
fn a_damaged_list_is_named() {
    let mut object = PROGRAM.to_vec();
    object[ext() + 2] = 9;
    let error = read_for(&object, None, types(KERNEL)).unwrap_err();
    assert!(error.to_string().contains(".BTF.ext section cannot be used"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(
        objects in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        lists in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        kernels in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let (mut object, mut kernel) = (PROGRAM.to_vec(), KERNEL.to_vec());
        for (at, value) in objects {
            let at = at.index(object.len());
            object[at] = value;
        }
        let start = ext();
        for (at, value) in lists {
            let at = start + at.index(object.len() - start);
            object[at] = value;
        }
        for (at, value) in kernels {
            let at = at.index(kernel.len());
            kernel[at] = value;
        }
        // A few kilobytes of types for each case stay until the test ends.
        let programs = read_for(&object, None, types(&kernel));
        for program in programs.iter().flatten() {
            match &program.spec {
                Ok(spec) => { verify(spec, &Options::default()); }
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}
