//! What the builder promises: places in errors, distances, long forms, features.

mod contract;
mod flow;
mod frame;

use byteorder::{BigEndian, LittleEndian};

use crate::asm::Reg::*;
use crate::asm::{Asm, AtomicOp, Cond, Error, FP, Features, Insn, Isa, MapRef, Program, Size, decode_program};

fn built(build: impl FnOnce(&mut Asm)) -> Program {
    let mut a = Asm::new();
    build(&mut a);
    a.finish().unwrap()
}

fn hex(program: &Program) -> String {
    let bytes = program.encode::<LittleEndian>(|map| Some(map.0 as i32)).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn unbound_label_names_both_places() {
    let mut a = Asm::new();
    let label = a.label("nowhere");
    a.goto(label);
    let used = line!() - 1;
    let error = a.finish().unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::UnboundLabel { used: at, made, .. } if at.line() == used && made.line() == used - 1)
    );
    assert!(text.contains(&format!("{}:{used}:", file!())), "{text}");
}

#[test]
fn doubly_bound_label_names_both_places() {
    let mut a = Asm::new();
    let label = a.here("twice");
    let first_line = line!() - 1;
    a.bind(label);
    a.exit();
    let error = a.finish().unwrap_err();
    assert!(
        matches!(&error, Error::DoublyBoundLabel { first, second, .. }
            if first.line() == first_line && second.line() == first_line + 2),
        "{error}"
    );
}

#[test]
fn label_of_another_assembler_is_refused() {
    let mut other = Asm::new();
    let foreign = other.here("foreign");
    let mut a = Asm::new();
    let _own = a.here("own");
    a.goto(foreign);
    assert!(matches!(a.finish(), Err(Error::ForeignLabel { .. })));
    let mut a = Asm::new();
    a.bind(foreign);
    assert!(matches!(a.finish(), Err(Error::ForeignLabel { .. })));
}

#[test]
fn label_after_the_last_instruction() {
    let mut a = Asm::new();
    let end = a.label("end");
    a.goto(end);
    a.bind(end);
    assert!(matches!(a.finish(), Err(Error::LabelAtEnd { .. })));
}

#[test]
fn unused_labels_are_fine() {
    let program = built(|a| {
        let _never_bound = a.label("never bound");
        a.here("unused");
        a.exit();
    });
    assert_eq!(program.label_at(0), Some("unused"));
}

#[test]
fn origins_comments_and_labels_follow_their_slots() {
    let program = built(|a| {
        a.load_imm64(R1, -2);
        let start = a.here("start");
        a.here("alias");
        a.comment("first");
        a.comment("second");
        a.mov(R0, 0);
        a.goto(start);
    });
    assert_eq!(program.labels_at(2).collect::<Vec<_>>(), ["start", "alias"]);
    assert_eq!(program.comment(2), Some("first\nsecond"));
    assert_eq!(program.origin(0), program.origin(1));
    assert_eq!(program.origin(2).unwrap().line(), program.origin(0).unwrap().line() + 5);
    assert_eq!(program.origin(2).unwrap().file(), file!());
    assert_eq!(program.origin(4), None);
    assert_eq!(program.insns()[3].off, -2);
}

#[test]
fn map_loads_stay_symbolic_until_encoding() {
    let program = built(|a| {
        a.load_map(R1, MapRef(0));
        a.load_map_value(R2, MapRef(7), 8);
        a.exit();
    });
    assert_eq!(program.maps(), [(0, MapRef(0)), (2, MapRef(7))]);
    assert_eq!((program.map_at(2), program.map_at(1)), (Some(MapRef(7)), None));
    assert_eq!((program.insns()[2].src, program.insns()[2].imm, program.insns()[3].imm), (2, 7, 8));
    let resolved = program.resolve(|map| Some(map.0 as i32 + 100)).unwrap();
    assert_eq!((resolved[0].imm, resolved[2].imm), (100, 107));
    let missing = program.encode_native(|map| (map.0 == 0).then_some(3));
    assert_eq!(missing, Err(Error::UnresolvedMap { slot: 2, map: MapRef(7) }));
}

#[test]
fn distances_count_from_the_next_slot() {
    let program = built(|a| {
        let (out, sub) = (a.label("out"), a.label("sub"));
        a.jump(Cond::Eq, R1, 0, out);
        a.load_func(R2, sub);
        a.call_sub(sub);
        a.bind(out);
        a.exit();
        a.bind(sub);
        a.mov(R0, 0);
        a.exit();
    });
    let insns = program.insns();
    assert_eq!((insns[0].off, insns[1].imm, insns[3].imm), (3, 3, 1));
}

/// `jump` over `fill` slots of filler to `exit`.
fn over(features: Features, fill: usize, jump: impl FnOnce(&mut Asm, super::Label)) -> Result<Program, Error> {
    let mut a = Asm::with_features(features);
    let out = a.label("out");
    jump(&mut a, out);
    for _ in 0..fill {
        a.mov(R0, 0);
    }
    a.bind(out);
    a.exit();
    a.finish()
}

#[test]
fn the_last_distance_that_fits_stays_short() {
    let near = over(Features::all(), 32767, |a, out| a.goto(out)).unwrap();
    assert_eq!(near.insns()[0], Insn { code: 0x05, off: 32767, ..Insn::default() });
    let far = over(Features::all(), 32768, |a, out| a.goto(out)).unwrap();
    assert_eq!(far.insns()[0], Insn { code: 0x06, imm: 32768, ..Insn::default() });
}

#[test]
fn far_conditional_jumps_are_inverted() {
    let far = over(Features::all(), 32768, |a, out| a.jump32(Cond::Sgt, R3, R4, out)).unwrap();
    assert_eq!(far.insns()[0], Insn { code: 0xde, dst: 3, src: 4, off: 1, imm: 0 });
    assert_eq!(far.insns()[1], Insn { code: 0x06, imm: 32768, ..Insn::default() });
    assert_eq!(far.insns().len(), 32771);
}

#[test]
fn far_jumps_without_an_inverse_take_a_trampoline() {
    for code in [0x45, 0xe5] {
        let far = over(Features::all(), 32768, |a, out| match code {
            0x45 => a.jump(Cond::Set, R3, 4, out),
            _ => a.may_goto(out),
        });
        let far = far.unwrap();
        assert_eq!((far.insns()[0].code, far.insns()[0].off), (code, 1));
        assert_eq!(far.insns()[1], Insn { code: 0x05, off: 1, ..Insn::default() });
        assert_eq!(far.insns()[2], Insn { code: 0x06, imm: 32768, ..Insn::default() });
    }
}

#[test]
fn without_the_long_jump_a_far_jump_goes_by_an_island() {
    let far = over(Features::LINUX_5_10, 32768, |a, out| a.jump(Cond::Set, R1, 4, out)).unwrap();
    let (past, island) = (24_576, 24_577);
    assert_eq!(far.insns()[0], Insn { code: 0x45, dst: 1, off: island as i16 - 1, imm: 4, ..Insn::default() });
    assert_eq!(far.insns()[past], Insn { code: 0x05, off: 1, ..Insn::default() });
    assert_eq!(far.insns()[island], Insn { code: 0x05, off: 8193, ..Insn::default() });
    assert_eq!(far.insns().len(), 32772);
    assert_eq!(
        (far.label_at(island), far.label_at(island + 1), far.label_at(32771)),
        (Some("toward_out"), Some("past"), Some("out"))
    );
    assert_eq!(far.origin(past), far.origin(0));
    let near = over(Features::LINUX_5_10, 32767, |a, out| a.jump(Cond::Set, R1, 4, out)).unwrap();
    assert_eq!(near.insns().len(), 32769);
}

#[test]
fn an_island_leads_back_and_a_goto_on_the_way_serves_as_one() {
    let mut a = Asm::with_features(Features::LINUX_5_10);
    let top = a.here("top");
    (0..20_000).for_each(|_| a.mov(R0, 0));
    a.goto(top);
    (0..20_000).for_each(|_| a.mov(R0, 0));
    a.comment("far");
    a.jump(Cond::Eq, R1, 0, top);
    a.exit();
    let program = a.finish().unwrap();
    // Nothing was added.
    assert_eq!(program.insns().len(), 40_003);
    assert_eq!((program.insns()[40_001].off, program.comment(40_001)), (-20_002, Some("far")));
    assert_eq!(program.insns()[20_000].off, -20_001);
}

#[test]
fn more_far_jumps_than_reach_has_slots_are_an_error() {
    let mut a = Asm::with_features(Features::LINUX_5_10);
    let labels: Vec<_> = (0..40_000).map(|number| a.label(format!("{number}"))).collect();
    labels.iter().for_each(|label| a.jump(Cond::Eq, R1, 0, *label));
    labels.iter().for_each(|label| {
        a.bind(*label);
        a.exit();
    });
    let far = a.finish();
    assert!(matches!(far, Err(Error::JumpOutOfRange { .. })), "{:?}", far.map(|program| program.insns().len()));
}

#[test]
fn instructions_newer_than_the_kernel_are_refused() {
    type Emit = fn(&mut Asm);
    let newer: [(Emit, Features); 9] = [
        (|a| a.sdiv(R1, 2), Features::SDIV),
        (|a| a.smod32(R1, R2), Features::SDIV),
        (|a| a.mov_sx(R1, R2, 8), Features::MOVSX),
        (|a| a.load_sx(Size::B, R1, R2, 0), Features::LDSX),
        (|a| a.bswap(R1, 16), Features::BSWAP),
        (|a| a.atomic(AtomicOp::Add { fetch: true }, Size::DW, FP, -8, R1), Features::ATOMIC_FETCH),
        (|a| a.atomic(AtomicOp::Or { fetch: false }, Size::DW, FP, -8, R1), Features::ATOMIC_FETCH),
        (|a| a.atomic(AtomicOp::LoadAcquire, Size::B, FP, -8, R1), Features::ACQUIRE_RELEASE),
        (|a| a.call_kfunc(1, 0), Features::KFUNC),
    ];
    for (emit, needed) in newer {
        let mut a = Asm::with_features(Features::LINUX_5_10);
        a.mov(R0, 0);
        emit(&mut a);
        let error = a.finish().unwrap_err();
        assert!(matches!(error, Error::MissingFeature { slot: 1, missing, .. } if missing == needed), "{error}");
        let mut a = Asm::new();
        emit(&mut a);
        a.finish().unwrap();
    }
}

#[test]
fn linux_5_10_has_what_its_programs_use() {
    let mut a = Asm::with_features(Features::LINUX_5_10);
    let out = a.label("out");
    a.jump32(Cond::Sle, R1, 1, out);
    a.mov32(R0, 0);
    a.store(Size::DW, FP, -8, 0);
    a.atomic(AtomicOp::Add { fetch: false }, Size::DW, FP, -8, R1);
    a.load_map_value(R1, MapRef(0), 0);
    a.to_be(R0, 16);
    a.call_sub(out);
    a.bind(out);
    a.exit();
    a.finish().unwrap();
}

#[test]
fn isa_versions_grow() {
    let with = |isa: Isa, emit: fn(&mut Asm)| {
        let mut a = Asm::with_features(isa.into());
        let out = a.here("out");
        let _ = out;
        emit(&mut a);
        a.exit();
        a.finish()
    };
    type Step = (Isa, Isa, fn(&mut Asm));
    let steps: [Step; 4] = [
        (Isa::V1, Isa::V2, |a| {
            let here = a.here("here");
            a.jump(Cond::Lt, R1, R2, here);
        }),
        (Isa::V2, Isa::V3, |a| a.add32(R1, 1)),
        (Isa::V2, Isa::V3, |a| a.atomic(AtomicOp::CmpXchg, Size::W, FP, -4, R1)),
        (Isa::V3, Isa::V4, |a| a.store(Size::B, FP, -1, 7)),
    ];
    for (before, from, emit) in steps {
        assert!(matches!(with(before, emit), Err(Error::MissingFeature { .. })));
        with(from, emit).unwrap();
    }
}

#[test]
fn impossible_operands_are_errors() {
    let wrong: [fn(&mut Asm); 7] = [
        |a| a.mov_sx(R1, R2, 64),
        |a| a.mov32_sx(R1, R2, 32),
        |a| a.to_be(R1, 8),
        |a| a.bswap(R1, 24),
        |a| a.load_sx(Size::DW, R1, R2, 0),
        |a| a.ld_abs(Size::DW, 0),
        |a| a.atomic(AtomicOp::Xchg, Size::H, FP, -8, R1),
    ];
    for emit in wrong {
        let mut a = Asm::new();
        emit(&mut a);
        let line = line!() - 1;
        assert!(
            matches!(a.finish(), Err(Error::InvalidOperand { at, .. }) if at.line() < line && at.file() == file!())
        );
    }
}

#[test]
fn bytes_of_both_orders() {
    let program = built(|a| a.store(Size::DW, FP, -8, R1));
    assert_eq!(hex(&program), "7b1af8ff00000000");
    let big = program.encode::<BigEndian>(|_| None).unwrap();
    assert_eq!(big, [0x7b, 0xa1, 0xff, 0xf8, 0, 0, 0, 0]);
    assert_eq!(decode_program::<BigEndian>(&big).unwrap(), program.insns());
    assert_eq!(decode_program::<BigEndian>(&big[1..]), Err(Error::TruncatedProgram { len: 7 }));
}

#[test]
fn acquire_and_release_name_their_registers() {
    let program = built(|a| {
        a.atomic(AtomicOp::LoadAcquire, Size::W, R1, 4, R2);
        a.atomic(AtomicOp::StoreRelease, Size::W, R1, 4, R2);
    });
    assert_eq!(program.insns()[0], Insn { code: 0xc3, dst: 2, src: 1, off: 4, imm: 0x100 });
    assert_eq!(program.insns()[1], Insn { code: 0xc3, dst: 1, src: 2, off: 4, imm: 0x110 });
}

/// Calls of the builder against bytes that the kernel has named in its log.
#[test]
fn emits_what_the_kernel_calls_by_these_words() {
    const GOLDEN: &str = include_str!("../../../../fixtures/asm/verifier_text.txt");
    type Case = (fn(&mut Asm), &'static str);
    let calls: [Case; 20] = [
        (|a| a.add32(R1, 65537), "(04) w1 += 65537"),
        (|a| a.add(R6, R2), "(0f) r6 += r2"),
        (|a| a.sdiv32(R1, R2), "(3c) w1 s/= w2"),
        (|a| a.mov(R7, FP), "(bf) r7 = r10"),
        (|a| a.mov_sx(R1, R1, 8), "(bf) r1 = (s8)r1"),
        (|a| a.mov32_sx(R1, R3, 16), "(bc) w1 = (s16)w3"),
        (|a| a.neg32(R1), "(84) w1 = -w1"),
        (|a| a.to_be(R6, 16), "(dc) r6 = be16 r6"),
        (|a| a.to_le(R1, 64), "(d4) r1 = le64 r1"),
        (|a| a.bswap(R6, 32), "(d7) r6 = bswap32 r6"),
        (|a| a.load(Size::DW, R1, FP, -512), "(79) r1 = *(u64 *)(r10 -512)"),
        (|a| a.load_sx(Size::H, R1, R0, 32), "(89) r1 = *(s16 *)(r0 +32)"),
        (|a| a.store(Size::DW, FP, -8, R1), "(7b) *(u64 *)(r10 -8) = r1"),
        (|a| a.store(Size::W, R1, 32, -5), "(62) *(u32 *)(r1 +32) = -5"),
        (|a| a.atomic(AtomicOp::Xchg, Size::DW, R1, -4, R3), "(db) r3 = atomic64_xchg((u64 *)(r1 -4), r3)"),
        (|a| a.atomic(AtomicOp::CmpXchg, Size::W, R6, 32, R1), "(c3) r0 = atomic_cmpxchg((u32 *)(r6 +32), r0, r1)"),
        (|a| a.atomic(AtomicOp::LoadAcquire, Size::B, R3, 8, R6), "(d3) r6 = load_acquire((u8 *)(r3 +8))"),
        (|a| a.ld_ind(Size::H, R2, -4), "(48) r0 = *(u16 *)skb[r2 + -4]"),
        (|a| a.load_imm64(R6, 0x1_2345_0000_0010), "(18) r6 = 0x1234500000010"),
        (|a| a.call(71), "(85) call bpf_msg_redirect_hash#71"),
    ];
    for (emit, words) in calls {
        let line = format!("{} {words}", hex(&built(emit)));
        assert!(GOLDEN.lines().any(|golden| golden == line), "{line}");
    }
}
