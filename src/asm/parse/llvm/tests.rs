//! Judged by LLVM's own words in `fixtures/asm/llvm_text.txt`.

use super::*;
use crate::asm::Dialect;

const LLVM_TEXT: &str = include_str!("../../../../fixtures/asm/llvm_text.txt");

/// The instruction and the text of each line of the fixture.
fn recorded() -> impl Iterator<Item = (Vec<u8>, (Insn, Option<Insn>), &'static str)> {
    LLVM_TEXT.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (hex, text) = line.split_once(' ').unwrap();
        let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let bytes: Vec<_> = digits.collect();
        (bytes.clone(), slots(&bytes).unwrap(), text)
    })
}

fn of((insn, second): (Insn, Option<Insn>)) -> Vec<Insn> {
    std::iter::once(insn).chain(second).collect()
}

fn written(insns: &[Insn]) -> String {
    let mut out = Vec::new();
    Dialect::Llvm.write(insns, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn says_what_llvm_says() {
    let mut known = std::collections::BTreeSet::new();
    for (_, parsed, text) in recorded() {
        assert_eq!(Dialect::Llvm.text(Disasm::at(&of(parsed), 0).unwrap()), text);
        known.extend(Some(parsed.0.code).filter(|_| text != UNKNOWN));
    }
    // Every opcode there is (128, as in the kernel's words), with callx and gotox.
    assert_eq!(known.len(), 130, "{known:02x?}");
}

/// What its words leave out is the only thing that is not read from them.
#[test]
fn reads_what_llvm_says() {
    let mut left_out = Vec::new();
    for (_, parsed, text) in recorded().filter(|(_, _, text)| *text != UNKNOWN) {
        if parse_program(text).ok() != Some(of(parsed)) {
            left_out.push(text);
        }
    }
    let expected = [
        // The offset in the packet, the kind of call (twice), a subprogram behind, and a number that no helper has.
        "r0 = *(u32 *)skb[r1]",
        "r0 = *(u16 *)skb[r2]",
        "call 0x1",
        "call 0x4d",
        "call -0x3",
        "call -0x1",
    ];
    assert_eq!(left_out, expected);
}

/// Where the bytes stand beside them, nothing is left out.
#[test]
fn reads_a_listing_with_bytes() {
    let mut listing =
        "\nx.o:\tfile format elf64-bpf\n\nDisassembly of section .text:\n\n0000000000000000 <f>:\n".to_owned();
    let mut expected = Vec::new();
    for (bytes, parsed, text) in recorded() {
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        listing += &format!("{:8}:\t{}\t{text}\n", expected.len(), bytes.join(" "));
        listing += "\t\t0000000000000038:  R_BPF_64_32\tfoo\n; while (1) {\n0000000000000040 <LBB0_1>:\n";
        expected.extend(of(parsed));
    }
    assert_eq!(parse_program(&listing).unwrap(), expected);
}

#[test]
fn writes_what_it_reads() {
    for (_, parsed, _) in recorded() {
        let text = written(&of(parsed));
        assert_eq!(parse_program(&text).unwrap(), of(parsed), "{text}");
    }
    // A call of a subprogram names its slot, here the next, and what has no words is bytes.
    let call = Insn { code: 0x85, src: 1, ..Insn::default() };
    assert_eq!(written(&[call]), "0: call 1f\n");
    let call = Insn { imm: -1, ..call };
    assert_eq!(written(&[call]), "0: call 0b\n");
    let kfunc = Insn { code: 0x85, src: 2, imm: 77, ..Insn::default() };
    assert_eq!(written(&[kfunc]), "0: .byte 0x85, 0x20, 0x0, 0x0, 0x4d, 0x0, 0x0, 0x0 # call 0x4d\n");
    let value = [Insn { code: 0x18, dst: 1, src: 2, off: 0, imm: 3 }, Insn { imm: 8, ..Insn::default() }];
    assert!(written(&value).starts_with("0: .byte 0x18, 0x21, "), "{}", written(&value));
}

/// What older LLVMs print: decimal numbers, and `r` where newer ones write `w`.
#[test]
fn reads_older_llvms() {
    for (old, new) in [
        ("r1 = *(u32 *)(r2 + 4)", "w1 = *(u32 *)(r2 + 0x4)"),
        ("*(u8 *)(r10 - 4) = r2", "*(u8 *)(r10 - 0x4) = w2"),
        ("lock *(u32 *)(r1 + 0) += r2", "lock *(u32 *)(r1 + 0x0) += w2"),
        ("if w1 > -5 goto -4 <LBB0_2>", "if w1 > 0xfffffffb goto -0x4"),
        ("r1 = 18446744073709551615 ll", "r1 = -0x1 ll"),
        ("r1 = 0xffffffff", "r1 = -1"),
    ] {
        assert_eq!(parse_program(old).unwrap(), parse_program(new).unwrap(), "{old}");
    }
}

#[test]
fn errors_name_line_and_column() {
    for (text, line, column, part) in [
        ("exit\nr1 += r12", 2, 7, "register"),
        ("r1 ^^ 5", 1, 4, "operator"),
        ("0: exit\n  7: exit", 2, 3, "slot 1"),
        ("r1 = -w1", 1, 7, "register"),
        ("r1 = be16 r2", 1, 11, "r1"),
        ("w1 = be16 w1", 1, 6, "number"),
        ("*(u32 *)(r1 + 40000) = 1", 1, 13, "between -32768 and 32767"),
        ("if r1 == 0x0 goto", 1, 18, "number"),
        ("exit now", 1, 6, "more on the line"),
        ("r1 = 99999999999", 1, 6, "between"),
        ("w1 = 5 ll", 1, 8, "more on the line"),
        ("w1 = *(u64 *)(r1 + 0x0)", 1, 6, "64 bits"),
        ("w1 = *(s8 *)(r1 + 0x0)", 1, 6, "64 bits"),
        ("*(u64 *)(r1 + 0x0) = w2", 1, 22, "register"),
        ("w1 = (s32)w2", 1, 6, "no sign"),
        ("r1 = *(u8 *)skb[0x4]", 1, 6, "loads r0"),
        ("lock *(u8 *)(r1 + 0x0) += w2", 1, 6, "4 and 8 bytes"),
        ("w1 = cmpxchg32_32(r1 + 0x0, w0, w2)", 1, 29, "result in r0"),
        ("call -0x3", 1, 6, "no helper has a negative number"),
        ("exit\ncall 0f", 2, 6, "not in this direction"),
        (".byte 0x95, 0x0", 1, 7, "8 bytes"),
        (".byte 0x95, 256", 1, 13, "between 0 and 255"),
        ("0: 95 00 00 exit", 1, 4, "8 bytes"),
        ("0: 95 00 00 00 00 00 00 00 r0 = 0x0", 1, 28, "the bytes say `exit`"),
        ("ld_pseudo r1, 0, 1", 1, 15, "between 1 and 15"),
        ("é", 1, 1, "instruction"),
        ("r1 = é", 1, 6, "number"),
    ] {
        let error = parse_program(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}
