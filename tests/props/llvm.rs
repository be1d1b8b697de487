//! LLVM itself reads what we write, and we read what it writes.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use byteorder::LittleEndian;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sidestep::asm::{Asm, Dialect, Insn, disassemble};

use crate::strategies::{call, make};

fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).output().expect("Debian's package llvm-22 has the tools");
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the tools write UTF-8")
}

/// Random instructions that the builder makes, without any that needs a place to jump to outside the program.
fn instructions() -> Vec<Insn> {
    let mut runner = TestRunner::default();
    let calls =
        vec((call(), any::<bool>()), 20_000..20_001).new_tree(&mut runner).expect("nothing is filtered").current();
    let mut insns = Vec::new();
    for chunk in calls.chunks(50) {
        let mut a = Asm::new();
        let (start, end) = (a.here("start"), a.label("end"));
        chunk.iter().for_each(|(call, back)| make(&mut a, call, if *back { start } else { end }));
        a.bind(end);
        a.exit();
        insns.extend_from_slice(a.finish().expect("the calls are possible").insns());
    }
    insns
}

/// `LLVM=22 cargo test --test props -- --ignored llvm`: needs the programs of Debian's package llvm-22 (`llvm-mc-22` and
/// `llvm-objdump-22`; older ones know fewer instructions).
#[test]
#[ignore = "needs LLVM; LLVM=22 says which"]
fn llvm_writes_and_reads_the_same() {
    let version = std::env::var("LLVM").expect("LLVM=22 names the version");
    let insns = instructions();
    let directory = std::env::temp_dir().join(format!("sidestep-llvm-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (source, object, bytes) = (file("in.s"), file("out.o"), file("out.bin"));

    // What we write, it assembles to the same bytes.
    let mut text = Vec::new();
    Dialect::Llvm.write(&insns, &mut text).unwrap();
    std::fs::write(&source, &text).unwrap();
    run(&format!("llvm-mc-{version}"), &["-triple", "bpfel", "-mcpu=v4", "-filetype=obj", &source, "-o", &object]);
    run(&format!("llvm-objcopy-{version}"), &["-O", "binary", "--only-section=.text", &object, &bytes]);
    let assembled = std::fs::read(Path::new(&bytes)).unwrap();
    let expected: Vec<u8> = insns.iter().flat_map(|insn| insn.encode::<LittleEndian>()).collect();
    assert!(assembled == expected, "llvm-mc read something else; see {source}");

    // Its listing of these bytes has our words, and says the same program to us.
    let listing = run(&format!("llvm-objdump-{version}"), &["-dz", "--mcpu=v4", &object]);
    assert_eq!(Dialect::Llvm.parse(&listing).unwrap(), insns);
    let words: Vec<_> = listing
        .lines()
        .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()) && line.contains(":\t"))
        .filter_map(|line| line.splitn(3, '\t').nth(2))
        .map(|words| words.split(" <.text").next().unwrap_or(words).trim_end())
        .collect();
    let mut differences = String::new();
    let mut count = 0;
    for ((slot, disasm), words) in disassemble(&insns).zip(&words) {
        count += 1;
        if Dialect::Llvm.text(disasm) != *words {
            writeln!(differences, "{slot}: {disasm}: ours `{}`, LLVM's `{words}`", Dialect::Llvm.text(disasm)).unwrap();
        }
    }
    assert_eq!(count, words.len());
    assert!(differences.is_empty(), "{differences}");
    println!("{count} instructions");
    std::fs::remove_dir_all(&directory).unwrap();
}
