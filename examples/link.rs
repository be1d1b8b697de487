//! Links the programs of BPF objects for a kernel, as its loader does, and prints their instructions: the object, the program, its slots in
//! hexadecimal digits, and how many CO-RE relocations were applied and how many have no counterpart in the kernel. Of a program that cannot
//! be linked it prints `not-linked:` and the reason, and of an object that cannot be read the same for the program `*`.
//!
//! `cargo run --example link --no-default-features -- /sys/kernel/btf/vmlinux FILE...`; without arguments it links an object of its own
//! for a kernel that does not exist.

use std::error::Error;
use std::path::Path;

use byteorder::NativeEndian;
use sidestep::verifier_sim::elf;
use sidestep::verifier_sim::types::KernelTypes;

/// The object and the types in fixtures/core_relo.
fn own() -> [String; 2] {
    let order = if cfg!(target_endian = "big") { "eb" } else { "el" };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/core_relo");
    [format!("{directory}/kernel.{order}.btf"), format!("{directory}/program.{order}.o")]
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = if arguments.is_empty() { own().to_vec() } else { arguments };
    let (types, files) = arguments.split_first().ok_or("give the kernel's types, and objects")?;
    // They are needed until the process ends.
    let types: &'static KernelTypes = Box::leak(Box::new(KernelTypes::parse(std::fs::read(types)?)?));
    for file in files {
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let programs = match elf::read_for(&std::fs::read(file)?, None, Some(types)) {
            Ok(programs) => programs,
            Err(error) => {
                println!("{name} * not-linked: {error}");
                continue;
            }
        };
        for program in programs {
            match program.spec {
                Ok(spec) => {
                    let bytes = spec.insns.iter().flat_map(|insn| insn.encode::<NativeEndian>());
                    let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
                    let relocations = program.relocations;
                    let unresolved = relocations.unresolved.len() + relocations.unlisted;
                    println!("{name} {} {digits} {} {unresolved}", program.name, relocations.applied);
                }
                Err(error) => println!("{name} {} not-linked: {error}", program.name),
            }
        }
    }
    Ok(())
}
