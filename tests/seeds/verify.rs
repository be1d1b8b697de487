//! Any bytes as a program: the simulator answers, soon and without a panic, and a log changes nothing.

use byteorder::LittleEndian;
use sidestep::asm::Insn;
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, Options, ProgType, ProgramSpec};
use sidestep::verifier_sim::{verify, verify_with_log};

/// Checks one input.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&choice, code)) = bytes.split_first() else { return };
    let slots = code.chunks_exact(Insn::SIZE).take(4096);
    let insns: Vec<Insn> = slots.filter_map(|slot| slot.try_into().ok()).map(Insn::decode::<LittleEndian>).collect();
    let loads = insns.iter().enumerate().filter(|(_, insn)| insn.code == 0x18 && (0..2).contains(&insn.imm));
    let map_loads = loads.map(|(insn, slot)| MapLoad { insn, map: slot.imm as usize }).collect();
    let map =
        |map_type, value_size| MapSpec { map_type, key_size: 4, value_size, max_entries: 1, ..MapSpec::default() };
    let program = ProgramSpec {
        prog_type: if choice & 1 == 0 { ProgType::SK_MSG } else { ProgType::SOCK_OPS },
        prog_flags: u32::from(choice >> 1) & 0xf,
        insns,
        maps: vec![map(MapType::HASH, 16), map(MapType::ARRAY, 8)],
        map_loads,
        ..ProgramSpec::default()
    };
    let verdict = verify(&program, &Options::default());
    let (again, _) = verify_with_log(&program, &Options::default());
    assert_eq!(verdict, again);
}
