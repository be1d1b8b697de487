//! Asks the simulator whether kernels would load a program, and explains the rejection. Needs no kernel and no privilege.
//!
//! `cargo run --example verify --no-default-features`

use std::error::Error;

use sidestep::asm::{Asm, Disasm, Helper, MapRef, Program, Reg::*, Size};
use sidestep::uapi::helper::id;
use sidestep::verifier_sim::spec::{Kernel, MapLoad, MapSpec, MapType, Options, Origin, ProgType, ProgramSpec};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

/// Reads a map's value, after a check that the entry exists or without it.
fn assemble(checked: bool) -> Result<Program, sidestep::asm::Error> {
    let mut a = Asm::new();
    a.block("done", |a, done| {
        let key = a.slot::<u32>("key");
        a.set(key, 0);
        a.load_map(R1, MapRef(0));
        a.addr(R2, key);
        a.call(Helper::new(id::MAP_LOOKUP_ELEM, 2));
        if checked {
            a.require(R0.differs(0), done, "the map has the entry");
        }
        a.load(Size::DW, R1, R0, 0);
    });
    a.mov(R0, 1);
    a.exit();
    a.finish()
}

/// What `BPF_PROG_LOAD` would receive.
fn spec(program: &Program) -> Result<ProgramSpec, sidestep::asm::Error> {
    let origin = |slot| program.origin(slot).map(|at| Origin { file: at.file(), line: at.line() });
    Ok(ProgramSpec {
        name: "example".into(),
        prog_type: ProgType::SK_MSG,
        insns: program.resolve(|map| Some(map.0 as i32))?,
        maps: vec![MapSpec {
            map_type: MapType::HASH,
            key_size: 4,
            value_size: 8,
            max_entries: 16,
            ..MapSpec::default()
        }],
        map_loads: program.maps().iter().map(|&(insn, map)| MapLoad { insn, map: map.0 as usize }).collect(),
        origins: (0..program.insns().len()).map(origin).collect(),
        ..ProgramSpec::default()
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    for checked in [true, false] {
        let spec = spec(&assemble(checked)?)?;
        for kernel in Kernel::ALL {
            match verify(&spec, &Options { kernel, ..Options::default() }) {
                Verdict::Accept(stats) => println!("{kernel}: accepted after {} instructions", stats.insns_processed),
                Verdict::Reject(rejection) => {
                    println!("{kernel}: refused: {rejection}");
                    for &slot in rejection.path.iter().chain(&rejection.insn) {
                        let insn = Disasm::at(&spec.insns, slot).ok_or("a slot outside the program")?;
                        println!("    {slot:3}: {insn}");
                    }
                    for (register, state) in &rejection.registers {
                        println!("    r{register} = {state}");
                    }
                }
                other => println!("{kernel}: {}: {}", other.word(), other.reason()),
            }
        }
    }
    Ok(())
}
