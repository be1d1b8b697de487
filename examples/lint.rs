//! Lints BPF objects while a crate is built: what a `build.rs` does with the object that clang has just written.
//!
//! `cargo run --example lint --no-default-features -- FILE...`; without a FILE it lints two small objects of its own.
//! `cargo::error` and `cargo::warning` are instructions to Cargo: the first fails the build. Exit status: 0 when every program
//! is accepted by every kernel, 1 when one is refused, or a file is not an object.

use std::error::Error;
use std::process::ExitCode;

use byteorder::LittleEndian;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use sidestep::asm::{Asm, Reg::*, Size};
use sidestep::verifier_sim::elf;
use sidestep::verifier_sim::spec::{Kernel, Options};
use sidestep::verifier_sim::verdict::Verdict;
use sidestep::verifier_sim::verify;

/// The kernels that the programs must load on.
const KERNELS: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_18];

/// The instructions to Cargo for one object.
fn lint(file: &str, data: &[u8]) -> Result<Vec<String>, elf::ElfError> {
    let mut lines = Vec::new();
    for program in elf::read(data, None)? {
        let name = format!("{file}: {}", program.name);
        let spec = match program.spec {
            Ok(spec) => spec,
            // With the types of the kernels (`elf::read_on`) it could be judged.
            Err(error) if error.needs_more() => {
                lines.push(format!("cargo::warning={name}: {error}"));
                continue;
            }
            Err(error) => {
                lines.push(format!("cargo::error={name}: {error}"));
                continue;
            }
        };
        for kernel in KERNELS {
            // An instruction to Cargo is one line; some rules have two.
            let line = |text: String| text.replace('\n', "; ");
            match verify(&spec, &Options { kernel, ..Options::default() }) {
                Verdict::Accept(_) => {}
                Verdict::Reject(why) => lines.push(line(format!("cargo::error={name}, Linux {kernel}: {why}"))),
                other => lines.push(line(format!("cargo::warning={name}, Linux {kernel}: {}", other.reason()))),
            }
        }
    }
    Ok(lines)
}

/// An object as clang writes it: a socket filter that returns the length of the packet, or what no path has set.
fn object(right: bool) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut a = Asm::new();
    if right {
        a.load(Size::W, R0, R1, 0);
    }
    a.exit();
    let bytes: Vec<u8> = a.finish()?.insns().iter().flat_map(|insn| insn.encode::<LittleEndian>()).collect();
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"socket".to_vec(), SectionKind::Text);
    object.append_section_data(section, &bytes, 8);
    object.add_symbol(Symbol {
        name: b"filter".to_vec(),
        value: 0,
        size: bytes.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    Ok(object.write()?)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        let (right, wrong) = (lint("right.o", &object(true)?)?, lint("wrong.o", &object(false)?)?);
        for line in right.iter().chain(&wrong) {
            println!("{line}");
        }
        let as_expected = right.is_empty() && wrong.len() == KERNELS.len();
        return Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut refused = false;
    for file in files {
        println!("cargo::rerun-if-changed={file}");
        let lines = lint(&file, &std::fs::read(&file)?)?;
        refused |= lines.iter().any(|line| line.starts_with("cargo::error"));
        for line in lines {
            println!("{line}");
        }
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
