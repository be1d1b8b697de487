//! Every opcode of RFC 9669 and of the kernel's v4 instruction set, executed at least once with a known result.

use std::collections::BTreeSet;

use sidestep::asm::{Insn, opcode as op};
use sidestep::verifier_sim::interp::{
    Access, Args, Environment, Fault, Limits, Machine, Memory, Outcome, Program, RegionKind, Trap, run,
};

const IS_BIG: bool = cfg!(target_endian = "big");

/// A slot.
fn i(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

/// The two slots of a 64-bit immediate load.
fn imm64(dst: u8, value: u64) -> [Insn; 2] {
    [i(0x18, dst, 0, 0, value as i32), i(0, 0, 0, 0, (value >> 32) as i32)]
}

const EXIT: Insn = Insn { code: 0x95, dst: 0, src: 0, off: 0, imm: 0 };

/// A program on 16 bytes of memory (r1 points to them) with the r0 it must return and the memory it must leave.
struct Case {
    what: String,
    insns: Vec<Insn>,
    memory: u128,
    r0: u64,
    memory_after: u128,
}

/// An environment with one packet and one helper, number 6, that adds its arguments up.
struct Sum;

impl Environment for Sum {
    fn helper(&mut self, _: &mut Machine, args: &Args) -> Result<u64, Fault> {
        match args.helper {
            6 => Ok(args.get(1)?.wrapping_add(args.get(2)?)),
            other => Err(Fault::UnknownHelper(other)),
        }
    }

    fn kfunc(&mut self, _: &mut Machine, args: &Args) -> Result<u64, Fault> {
        Ok(1000 + args.helper as u64)
    }

    fn packet(&self) -> Option<&[u8]> {
        Some(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66])
    }
}

fn execute(insns: Vec<Insn>, memory: u128) -> (Result<Outcome, Trap>, u128) {
    let mut machine = Machine::new(1);
    let region = machine.memory.add(RegionKind::Input, Access::ReadWrite, memory.to_ne_bytes().to_vec());
    let limits = Limits { instructions: 1000, may_goto: 3 };
    let program = Program::new(insns, &[], &[]);
    let result = run(&program, &mut machine, &mut Sum, &[region.address(), 16], limits);
    let after = u128::from_ne_bytes(machine.memory.bytes(region).try_into().unwrap());
    (result, after)
}

fn case(what: impl Into<String>, insns: Vec<Insn>, r0: u64) -> Case {
    Case { what: what.into(), insns, memory: 0, r0, memory_after: 0 }
}

/// `dst OP src` in both widths, with the operand in a register and, where it fits, in the immediate.
fn alu_cases() -> Vec<Case> {
    const M: u64 = u64::MAX;
    // operation, variant, dst, src, 64-bit result, 32-bit result
    let table: &[(u8, i16, u64, u64, u64, u64)] = &[
        (op::ADD, 0, 0xffff_ffff, 2, 0x1_0000_0001, 1),
        (op::ADD, 0, 5, M, 4, 4),
        (op::SUB, 0, 3, 5, M - 1, 0xffff_fffe),
        (op::MUL, 0, 0x1_0000_0003, 7, 0x7_0000_0015, 0x15),
        (op::DIV, 0, 0x1_0000_0008, 3, 0x5555_5558, 2),
        (op::DIV, 0, 9, 0, 0, 0),
        (op::DIV, 1, -13_i64 as u64, 3, -4_i64 as u64, 0xffff_fffc),
        (op::DIV, 1, 0x8000_0000, M, 0xffff_ffff_8000_0000, 0x8000_0000),
        (op::MOD, 0, 0x1_0000_0008, 5, 4, 3),
        (op::MOD, 0, 0x1_0000_0008, 0, 0x1_0000_0008, 8),
        (op::MOD, 1, -13_i64 as u64, 3, M, 0xffff_ffff),
        (op::MOD, 1, 0x8000_0000, M, 0, 0),
        (op::OR, 0, 0xf0_0000_00f0, 0x0f, 0xf0_0000_00ff, 0xff),
        (op::AND, 0, 0xff_ffff_ffff, M - 0xf, 0xff_ffff_fff0, 0xffff_fff0),
        (op::XOR, 0, 0xff_0000_00ff, 0x0f, 0xff_0000_00f0, 0xf0),
        (op::LSH, 0, 0x8000_0001, 33, 0x0000_0002_0000_0000, 2),
        (op::RSH, 0, 0x8000_0000_8000_0000, 31, 0x1_0000_0001, 1),
        (op::ARSH, 0, 0x8000_0000_8000_0000, 4, 0xf800_0000_0800_0000, 0xf800_0000),
        (op::MOV, 0, 1, -2_i64 as u64, -2_i64 as u64, 0xffff_fffe),
    ];
    let mut cases = Vec::new();
    for &(operation, off, dst, src, wide, narrow) in table {
        for (class, want) in [(op::ALU64, wide), (op::ALU, narrow)] {
            let what = format!("{operation:#x}/{off} of {dst:#x}, {src:#x} in class {class}");
            let mut insns = imm64(0, dst).to_vec();
            insns.extend(imm64(2, src));
            insns.extend([i(class | op::X | operation, 0, 2, off, 0), EXIT]);
            cases.push(case(format!("{what} with a register"), insns, want));
            if let Ok(imm) = i32::try_from(src as i64) {
                let mut insns = imm64(0, dst).to_vec();
                insns.extend([i(class | op::K | operation, 0, 0, off, imm), EXIT]);
                cases.push(case(format!("{what} with an immediate"), insns, want));
            }
        }
    }
    for (class, off, want) in [
        (op::ALU64, 8, 0xffff_ffff_ffff_ff81),
        (op::ALU64, 16, 0xffff_ffff_ffff_9081),
        (op::ALU64, 32, 0xffff_ffff_a000_9081),
        (op::ALU, 8, 0xffff_ff81),
        (op::ALU, 16, 0xffff_9081),
    ] {
        let mut insns = imm64(2, 0x1_a000_9081).to_vec();
        insns.extend([i(class | op::X | op::MOV, 0, 2, off, 0), EXIT]);
        cases.push(case(format!("sign-extending move from {off} bits in class {class}"), insns, want));
    }
    for (class, want) in [(op::ALU64, -0x1_0000_0005_i64 as u64), (op::ALU, 0xffff_fffb)] {
        let mut insns = imm64(0, 0x1_0000_0005).to_vec();
        insns.extend([i(class | op::NEG, 0, 0, 0, 0), EXIT]);
        cases.push(case(format!("negation in class {class}"), insns, want));
    }
    let (own_order, other_order) = if IS_BIG { (op::X, op::K) } else { (op::K, op::X) };
    for (code, results) in [
        (op::ALU | own_order | op::END, [0xcdef, 0x89ab_cdef, 0x0123_4567_89ab_cdef]),
        (op::ALU | other_order | op::END, [0xefcd, 0xefcd_ab89, 0xefcd_ab89_6745_2301]),
        (op::ALU64 | op::K | op::END, [0xefcd, 0xefcd_ab89, 0xefcd_ab89_6745_2301]),
    ] {
        for (width, want) in [16, 32, 64].into_iter().zip(results) {
            let mut insns = imm64(0, 0x0123_4567_89ab_cdef).to_vec();
            insns.extend([i(code, 0, 0, 0, width), EXIT]);
            cases.push(case(format!("byte order {code:#x} of {width} bits"), insns, want));
        }
    }
    cases
}

/// Two operands of a comparison.
type Pair = (i64, i64);

/// Conditional jumps in both widths, taken and not taken, with a register and with an immediate.
fn jump_cases() -> Vec<Case> {
    const M1: i64 = -1;
    // condition; a pair for which it holds, a pair for which it does not; the same in 32 bits by cutting
    let table: [(u8, Pair, Pair); 11] = [
        (op::JEQ, (7, 7), (7, 8)),
        (op::JNE, (7, 8), (M1, M1)),
        (op::JGT, (M1, 1), (1, 1)),
        (op::JGE, (1, 1), (1, M1)),
        (op::JLT, (1, M1), (M1, 1)),
        (op::JLE, (1, 1), (M1, 1)),
        (op::JSET, (6, 2), (5, 2)),
        (op::JSGT, (1, M1), (M1, 1)),
        (op::JSGE, (M1, M1), (-2, M1)),
        (op::JSLT, (M1, 1), (1, M1)),
        (op::JSLE, (M1, M1), (1, M1)),
    ];
    let mut cases = Vec::new();
    for (condition, yes, no) in table {
        for (class, name) in [(op::JMP, "64"), (op::JMP32, "32")] {
            for ((dst, src), want) in [(yes, 1), (no, 0)] {
                let what = format!("{condition:#x} on {dst}, {src} in {name} bits");
                let tail = [i(0xb7, 0, 0, 0, 0), EXIT, i(0xb7, 0, 0, 0, 1), EXIT];
                // Noise above bit 31 must not matter to the narrow forms.
                let noise = if class == op::JMP32 { 0x5_0000_0000 } else { 0 };
                let mut insns = imm64(3, (dst as u64) ^ noise).to_vec();
                insns.extend(imm64(2, src as u64));
                insns.push(i(class | op::X | condition, 3, 2, 2, 0));
                insns.extend(tail);
                cases.push(case(format!("{what} with a register"), insns, want));
                let mut insns = imm64(3, (dst as u64) ^ noise).to_vec();
                insns.push(i(class | op::K | condition, 3, 0, 2, src as i32));
                insns.extend(tail);
                cases.push(case(format!("{what} with an immediate"), insns, want));
            }
        }
    }
    for (code, off, imm) in [(op::JMP | op::JA, 2, 0), (op::JMP32 | op::JA, 0, 2)] {
        let insns = vec![i(code, 0, 0, off, imm), i(0xb7, 0, 0, 0, 0), EXIT, i(0xb7, 0, 0, 0, 1), EXIT];
        cases.push(case(format!("unconditional jump {code:#x}"), insns, 1));
    }
    // A backward jump that counts to 10.
    let loop_ = vec![i(0xb7, 0, 0, 0, 0), i(0x07, 0, 0, 0, 1), i(0xa5, 0, 0, -2, 10), EXIT];
    cases.push(case("a loop", loop_, 10));
    // may_goto falls through three times (the limit of this run) and then leaves the endless loop.
    let bounded = vec![i(0xb7, 0, 0, 0, 0), i(0xe5, 0, 0, 2, 0), i(0x07, 0, 0, 0, 1), i(0x05, 0, 0, -3, 0), EXIT];
    cases.push(case("may_goto", bounded, 3));
    cases
}

fn call_cases() -> Vec<Case> {
    let call = |src: u8, imm: i32| i(0x85, 0, src, 0, imm);
    vec![
        case("a helper", vec![i(0xb7, 1, 0, 0, 40), call(0, 6), EXIT], 56),
        case("a kernel function", vec![call(2, 7), EXIT], 1007),
        // main: r6 = 5, r1 = 3, call; r0 += r6. Subprogram: r6 = r1 * 2, stack slot, return r6 + stack.
        case(
            "a subprogram with its own frame that keeps r6 to r9",
            vec![
                i(0xb7, 6, 0, 0, 5),
                i(0xb7, 1, 0, 0, 3),
                i(0x7a, 10, 0, -8, 100),
                call(1, 4),
                i(0x0f, 0, 6, 0, 0),
                i(0x79, 2, 10, -8, 0),
                i(0x0f, 0, 2, 0, 0),
                EXIT,
                i(0xbf, 6, 1, 0, 0),
                i(0x7a, 10, 0, -8, 1),
                i(0x79, 0, 10, -8, 0),
                i(0x0f, 0, 6, 0, 0),
                EXIT,
            ],
            109,
        ),
    ]
}

/// The offset at which this machine has the `size` bytes that a little-endian one has at `off` of 16 bytes.
fn at(size: u8, off: i16) -> i16 {
    let bytes = match size & op::SIZE_MASK {
        op::B => 1,
        op::H => 2,
        op::W => 4,
        _ => 8,
    };
    if IS_BIG { 16 - bytes - off } else { off }
}

const MEMORY: u128 = 0x0f0e_0d0c_0b0a_0908_8786_8584_8382_8180;

fn memory_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut loads = vec![
        (op::LDX | op::MEM | op::B, 1, 0x81),
        (op::LDX | op::MEM | op::H, 2, 0x8382),
        (op::LDX | op::MEM | op::W, 4, 0x8786_8584),
        (op::LDX | op::MEM | op::DW, 8, 0x0f0e_0d0c_0b0a_0908),
        (op::LDX | op::MEM | op::DW, 3, 0x0a09_0887_8685_8483),
    ];
    loads.extend([
        (op::LDX | op::MEMSX | op::B, 1, 0xffff_ffff_ffff_ff81),
        (op::LDX | op::MEMSX | op::H, 2, 0xffff_ffff_ffff_8382),
        (op::LDX | op::MEMSX | op::W, 4, 0xffff_ffff_8786_8584),
        (op::LDX | op::MEMSX | op::W, 8, 0x0b0a_0908),
    ]);
    for (code, off, r0) in loads {
        let insns = vec![i(code, 0, 1, at(code, off), 0), EXIT];
        let what = format!("load {code:#x} at {off}");
        cases.push(Case { what, insns, memory: MEMORY, r0, memory_after: MEMORY });
    }
    for (size, off, memory_after) in [
        (op::B, 15, 0x7f00_0000_0000_0000_0000_0000_0000_0000_u128),
        (op::H, 2, 0xff7f_0000),
        (op::W, 4, 0xffff_ff7f_0000_0000),
        (op::DW, 8, 0xffff_ffff_ffff_ff7f_0000_0000_0000_0000),
    ] {
        let value = if size == op::B { 0x7f } else { -129 };
        let immediate = vec![i(op::ST | op::MEM | size, 1, 0, at(size, off), value), i(0xb7, 0, 0, 0, 0), EXIT];
        let what = format!("store of an immediate of size {size:#x}");
        cases.push(Case { what, insns: immediate, memory: 0, r0: 0, memory_after });
        let register = vec![
            i(0xb7, 2, 0, 0, value),
            i(op::STX | op::MEM | size, 1, 2, at(size, off), 0),
            i(0xb7, 0, 0, 0, 0),
            EXIT,
        ];
        let what = format!("store of a register of size {size:#x}");
        cases.push(Case { what, insns: register, memory: 0, r0: 0, memory_after });
    }
    cases.push(case(
        "64-bit immediate",
        [imm64(0, 0x1122_3344_8899_aabb).as_slice(), &[EXIT]].concat(),
        0x1122_3344_8899_aabb,
    ));
    for (size, absolute, indirect) in [(op::B, 0x22, 0x33), (op::H, 0x2233, 0x3344), (op::W, 0x2233_4455, 0x3344_5566)]
    {
        let context = i(0xbf, 6, 1, 0, 0);
        let insns = vec![context, i(op::LD | op::ABS | size, 0, 0, 0, 1), EXIT];
        cases.push(case(format!("absolute packet load of size {size:#x}"), insns, absolute));
        let insns = vec![context, i(0xb7, 2, 0, 0, 1), i(op::LD | op::IND | size, 0, 2, 0, 1), EXIT];
        cases.push(case(format!("indirect packet load of size {size:#x}"), insns, indirect));
    }
    let outside = vec![i(0xbf, 6, 1, 0, 0), i(0xb7, 0, 0, 0, 9), i(op::LD | op::ABS | op::W, 0, 0, 0, 3), EXIT];
    cases.push(case("a packet load outside the packet ends the program with 0", outside, 0));
    cases
}

fn atomic_cases() -> Vec<Case> {
    // old 0b1100 (and bit 32 in the wide form), operand 0b1010
    let table: &[(i32, u64, bool)] = &[
        (i32::from(op::ADD), 22, false),
        (i32::from(op::OR), 14, false),
        (i32::from(op::AND), 8, false),
        (i32::from(op::XOR), 6, false),
        (op::XCHG, 10, true),
    ];
    let mut cases = Vec::new();
    for &(operation, result, always_fetches) in table {
        for (size, high) in [(op::W, 0_u64), (op::DW, 1 << 32)] {
            for fetch in [0, op::FETCH] {
                if always_fetches && fetch == 0 {
                    continue;
                }
                let old = 12 | high;
                // Bits above the operation's result that it leaves alone in the wide form.
                let keeps = if matches!(operation, o if o == i32::from(op::AND) || o == op::XCHG) { 0 } else { high };
                let insns = vec![
                    i(0xb7, 3, 0, 0, 10),
                    i(op::STX | op::ATOMIC | size, 1, 3, at(size, 8), operation | fetch),
                    i(0xbf, 0, 3, 0, 0),
                    EXIT,
                ];
                cases.push(Case {
                    what: format!("atomic {operation:#x}, fetch {fetch}, size {size:#x}"),
                    insns,
                    memory: u128::from(old) << 64,
                    r0: if fetch != 0 { old } else { 10 },
                    memory_after: u128::from(result | keeps) << 64,
                });
            }
        }
    }
    for (size, expected, r0, after) in [
        (op::W, 0x7_0000_000c_u64, 0x0c, 0x9_0000_000a_u64),
        (op::W, 0x0b, 0x0c, 0x9_0000_000c),
        (op::DW, 0x9_0000_000c, 0x9_0000_000c, 10),
        (op::DW, 0x0c, 0x9_0000_000c, 0x9_0000_000c),
    ] {
        let mut insns = imm64(0, expected).to_vec();
        insns.extend([i(0xb7, 3, 0, 0, 10), i(op::STX | op::ATOMIC | size, 1, 3, at(size, 0), op::CMPXCHG), EXIT]);
        let what = format!("compare {expected:#x} and exchange, size {size:#x}");
        cases.push(Case { what, insns, memory: 0x9_0000_000c, r0, memory_after: after.into() });
    }
    for (size, loaded, stored) in [
        (op::B, 0x08, 0x80_u128),
        (op::H, 0x0908, 0x7f80),
        (op::W, 0x0b0a_0908, 0x6e6f_7f80),
        (op::DW, 0x0f0e_0d0c_0b0a_0908, 0x0000_0000_6e6f_7f80),
    ] {
        let insns = vec![i(op::STX | op::ATOMIC | size, 0, 1, at(size, 8), op::LOAD_ACQ), EXIT];
        let what = format!("load-acquire of size {size:#x}");
        cases.push(Case { what, insns, memory: MEMORY, r0: loaded, memory_after: MEMORY });
        let mut insns = imm64(2, 0x6e6f_7f80).to_vec();
        insns.extend([i(op::STX | op::ATOMIC | size, 1, 2, at(size, 0), op::STORE_REL), i(0xb7, 0, 0, 0, 0), EXIT]);
        let what = format!("store-release of size {size:#x}");
        cases.push(Case { what, insns, memory: 0, r0: 0, memory_after: stored });
    }
    cases
}

fn all_cases() -> Vec<Case> {
    [alu_cases(), jump_cases(), call_cases(), memory_cases(), atomic_cases()].into_iter().flatten().collect()
}

#[test]
fn every_instruction_computes_what_the_standard_says() {
    for case in all_cases() {
        let (result, memory) = execute(case.insns, case.memory);
        assert_eq!(result.map(|outcome| outcome.r0), Ok(case.r0), "{}", case.what);
        assert_eq!(memory, case.memory_after, "memory after {}", case.what);
    }
}

/// All opcode bytes that are instructions: RFC 9669, appendix A, with may_goto.
fn valid_opcodes() -> BTreeSet<u8> {
    let mut valid = BTreeSet::from([0x18, 0x05, 0x06, 0x85, 0x95, 0xe5]);
    for class in [op::ALU, op::ALU64] {
        for operation in [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0] {
            valid.extend([class | operation, class | op::X | operation]);
        }
        valid.extend([class | op::NEG, class | op::END]);
    }
    valid.insert(op::ALU | op::X | op::END);
    for class in [op::JMP, op::JMP32] {
        for condition in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0] {
            valid.extend([class | condition, class | op::X | condition]);
        }
    }
    for size in [op::B, op::H, op::W, op::DW] {
        valid.extend([op::LDX | op::MEM | size, op::ST | op::MEM | size, op::STX | op::MEM | size]);
        valid.insert(op::STX | op::ATOMIC | size);
        if size != op::DW {
            valid.extend([op::LDX | op::MEMSX | size, op::LD | op::ABS | size, op::LD | op::IND | size]);
        }
    }
    valid
}

#[test]
fn the_cases_cover_every_opcode_and_nothing_else_is_one() {
    let mut seen = BTreeSet::new();
    for case in all_cases() {
        let mut skip = false;
        for insn in case.insns {
            if !skip {
                seen.insert(insn.code);
            }
            skip = !skip && insn.code == 0x18;
        }
    }
    assert_eq!(seen, valid_opcodes());

    for code in (0..=u8::MAX).filter(|code| !valid_opcodes().contains(code)) {
        let (result, _) = execute(vec![i(0xb7, 0, 0, 0, 0), i(code, 0, 1, 0, 0), EXIT], 0);
        let Err(Trap { pc: 1, fault: Fault::BadInstruction { .. }, .. }) = result else {
            panic!("opcode {code:#04x}: {result:?}");
        };
    }
}

#[test]
fn variants_that_do_not_exist_fault() {
    for insn in [
        i(op::ALU64 | op::MOV | op::K, 0, 0, 8, 1),
        i(op::ALU64 | op::MOV | op::X, 0, 1, 24, 0),
        i(op::ALU | op::MOV | op::X, 0, 1, 32, 0),
        i(op::ALU64 | op::ADD, 0, 0, 1, 1),
        i(op::ALU64 | op::DIV, 0, 0, 2, 1),
        i(op::ALU | op::END, 0, 0, 0, 24),
        i(op::STX | op::ATOMIC | op::B, 1, 0, 0, 0),
        i(op::STX | op::ATOMIC | op::H, 1, 0, 0, op::XCHG),
        i(op::STX | op::ATOMIC | op::W, 1, 0, 0, i32::from(op::SUB)),
        i(op::STX | op::ATOMIC | op::W, 1, 0, 0, 0xe0),
        i(op::STX | op::ATOMIC | op::W, 1, 0, 0, -1),
        i(0x18, 0, 7, 0, 0),
        i(0x85, 0, 3, 0, 1),
        i(0xe5, 0, 1, 0, 0),
    ] {
        let (result, _) = execute(vec![i(0xb7, 0, 0, 0, 0), insn, i(0, 0, 0, 0, 0), EXIT], 0);
        let fault = result.unwrap_err().fault;
        assert!(matches!(fault, Fault::BadInstruction { .. }), "{insn:?}: {fault}");
    }
}

#[test]
fn whatever_a_verifier_must_rule_out_is_a_fault() {
    let set0 = i(0xb7, 0, 0, 0, 0);
    let stack_pointer_leaks =
        vec![i(0x85, 0, 1, 0, 2), i(0x79, 0, 0, 0, 0), EXIT, i(0xbf, 0, 10, 0, 0), i(0x07, 0, 0, 0, -8), EXIT];
    let recursion = vec![i(0x85, 0, 1, 0, -1), EXIT];
    for (what, insns, want) in [
        ("uninitialised register", vec![i(0xbf, 0, 3, 0, 0), EXIT], "r3 is read before it is written"),
        ("argument after a call", vec![i(0x85, 0, 0, 0, 6), i(0xbf, 0, 1, 0, 0), EXIT], "r1 is read before"),
        ("helper argument never set", vec![i(0x85, 0, 2, 0, 1), i(0x85, 0, 0, 0, 6), EXIT], "r1 is read before"),
        ("write to the frame pointer", vec![i(0xb7, 10, 0, 0, 0), EXIT], "r10 is read-only"),
        ("register 11", vec![i(0xbf, 0, 11, 0, 0), EXIT], "there is no register r11"),
        ("register 12", vec![i(0xb7, 12, 0, 0, 0), EXIT], "there is no register r12"),
        ("no exit", vec![set0], "slot 1, which is outside"),
        ("jump before the start", vec![i(0x05, 0, 0, -2, 0), EXIT], "slot -1, which is outside"),
        ("half a wide load", vec![i(0x18, 0, 0, 0, 0)], "slot 1, which is outside"),
        (
            "second half of a wide load",
            vec![i(0x05, 0, 0, 1, 0), i(0x18, 0, 0, 0, 0), i(0, 0, 0, 0, 0), EXIT],
            "is not an instruction",
        ),
        ("endless loop", vec![i(0x05, 0, 0, -1, 0)], "still running after 1000"),
        ("endless recursion", recursion, "deeper than 8 frames"),
        ("null", vec![set0, i(0x79, 0, 0, 0, 0), EXIT], "belongs to no memory region"),
        ("below the stack", vec![i(0x7a, 10, 0, -520, 0), EXIT], "8 bytes at offset -8 of the stack frame"),
        ("above the stack", vec![i(0x79, 0, 10, 0, 0), EXIT], "8 bytes at offset 512 of the stack frame"),
        ("behind the input", vec![i(0x61, 0, 1, 13, 0), EXIT], "4 bytes at offset 13 of the input memory of 16"),
        ("frame of a function that returned", stack_pointer_leaks, "stack frame after it was freed"),
        ("unaligned atomic", vec![i(0xdb, 1, 1, 1, 0), EXIT], "unaligned"),
        ("map without a number", vec![i(0x18, 1, 1, 0, 4), i(0, 0, 0, 0, 0), EXIT], "no map number 4"),
        ("helper without a number", vec![i(0x85, 0, 0, 0, 999), EXIT], "no helper with id 999"),
    ] {
        let error = execute(insns, 0).0.unwrap_err().to_string();
        assert!(error.contains(want), "{what}: {error}");
    }
}

#[test]
fn fresh_stack_bytes_are_the_machines_choice() {
    for fill in [0, 0x5a] {
        let mut machine = Machine::new(1);
        machine.stack_fill = fill;
        let program = Program::new(vec![i(0x71, 0, 10, -1, 0), EXIT], &[], &[]);
        assert_eq!(run(&program, &mut machine, &mut Sum, &[], Limits::default()).unwrap().r0, u64::from(fill));
    }
    assert_eq!(Memory::new().region_of(0), None);
}
