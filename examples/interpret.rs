//! Runs a program in the interpreter, which finds at run time what the verifier rules out. Needs no kernel.
//!
//! `cargo run --example interpret --no-default-features`

use std::error::Error;

use sidestep::asm::{Asm, Reg::*, Size};
use sidestep::verifier_sim::interp::{Access, Limits, Machine, NoKernel, Program, RegionKind, run};

/// The sum of the 32-bit words at R1, of which R2 says how many.
fn sum() -> Result<Program, sidestep::asm::Error> {
    let mut a = Asm::new();
    let again = a.label("again");
    a.mov(R0, 0);
    a.bind(again);
    a.load(Size::W, R3, R1, 0);
    a.add(R0, R3);
    a.add(R1, 4);
    a.sub(R2, 1);
    a.jump_if(R2.differs(0), again);
    a.exit();
    Ok(Program::new(a.finish()?.insns().to_vec(), &[], &[]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let program = sum()?;
    let words: Vec<u8> = (1u32..=10).flat_map(u32::to_ne_bytes).collect();
    let mut machine = Machine::new(1);
    let input = machine.memory.add(RegionKind::Input, Access::Read, words).address();

    let outcome = run(&program, &mut machine, &mut NoKernel, &[input, 10], Limits::default())?;
    println!("the sum of 1 to 10 is {}", outcome.r0);
    if outcome.r0 != 55 {
        return Err("the interpreter cannot add".into());
    }

    // One word more than there is: a verifier would refuse the program, the interpreter stops it.
    let Err(trap) = run(&program, &mut machine, &mut NoKernel, &[input, 11], Limits::default()) else {
        return Err("it has read behind its input".into());
    };
    println!("with one word too many: {trap}");
    Ok(())
}
