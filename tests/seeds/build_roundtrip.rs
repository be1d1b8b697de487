//! Any sequence of builder calls: what `finish()` accepts survives encoding, decoding, disassembly and parsing unchanged.

use arbitrary::{Arbitrary, Unstructured};
use byteorder::{BigEndian, ByteOrder, LittleEndian};
use sidestep::asm::{
    AluOp, Asm, AtomicOp, Cond, Features, Label, Listing, MapRef, Operand, Program, Reg, Size, decode_program,
    parse_program, write_text,
};

/// One call of the builder. Numbers are reduced to what exists; labels may be unbound or bound twice, since errors are part
/// of the interface.
#[derive(Arbitrary, Debug)]
enum Call {
    Alu {
        op: u8,
        dst: u8,
        src: Source,
        narrow: bool,
    },
    Neg {
        dst: u8,
        narrow: bool,
    },
    MovSx {
        dst: u8,
        src: u8,
        bits: u8,
        narrow: bool,
    },
    Swap {
        dst: u8,
        bits: u8,
        kind: u8,
    },
    Load {
        size: u8,
        dst: u8,
        base: u8,
        off: i16,
        signed: bool,
    },
    Store {
        size: u8,
        base: u8,
        off: i16,
        value: Source,
    },
    Atomic {
        op: u8,
        size: u8,
        base: u8,
        off: i16,
        src: u8,
    },
    Imm64 {
        dst: u8,
        value: i64,
    },
    Map {
        dst: u8,
        map: u8,
    },
    MapValue {
        dst: u8,
        map: u8,
        offset: u32,
    },
    Func {
        dst: u8,
        label: u8,
    },
    Ksym {
        dst: u8,
        id: i32,
    },
    Packet {
        size: u8,
        src: Option<u8>,
        offset: i32,
    },
    Helper(i32),
    Kfunc(i32),
    Sub {
        label: u8,
    },
    Jump {
        cond: u8,
        dst: u8,
        src: Source,
        label: u8,
        narrow: bool,
    },
    Goto {
        label: u8,
    },
    MayGoto {
        label: u8,
    },
    Bind {
        label: u8,
    },
    Comment(String),
    /// Up to 65,535 instructions at once, so that jumps get out of reach.
    Fill(u16),
    Exit,
}

#[derive(Arbitrary, Debug)]
enum Source {
    Reg(u8),
    Imm(i32),
}

#[derive(Arbitrary, Debug)]
struct Input {
    features: Option<u32>,
    calls: Vec<Call>,
}

/// Fill calls beyond this are skipped: each costs time, and two put a label out of reach in both directions.
const FILLS: usize = 2;
/// Longer programs are filler, whose text has nothing new to say and takes most of the time.
const TEXT: usize = 4096;

fn reg(number: u8) -> Reg {
    Reg::ALL[usize::from(number) % Reg::ALL.len()]
}

fn size(number: u8) -> Size {
    Size::ALL[usize::from(number) % Size::ALL.len()]
}

impl From<&Source> for Operand {
    fn from(source: &Source) -> Self {
        match *source {
            Source::Reg(number) => Self::Reg(reg(number)),
            Source::Imm(imm) => Self::Imm(imm),
        }
    }
}

fn make(a: &mut Asm, call: &Call, labels: &[Label], fills: &mut usize) {
    let label = |number: u8| labels[usize::from(number) % labels.len()];
    match call {
        Call::Alu { op, dst, src, narrow } => {
            let op = AluOp::ALL[usize::from(*op) % AluOp::ALL.len()];
            if *narrow { a.alu32(op, reg(*dst), src) } else { a.alu(op, reg(*dst), src) }
        }
        Call::Neg { dst, narrow: true } => a.neg32(reg(*dst)),
        Call::Neg { dst, narrow: false } => a.neg(reg(*dst)),
        Call::MovSx { dst, src, bits, narrow: true } => a.mov32_sx(reg(*dst), reg(*src), *bits),
        Call::MovSx { dst, src, bits, narrow: false } => a.mov_sx(reg(*dst), reg(*src), *bits),
        Call::Swap { dst, bits, kind } => match kind % 3 {
            0 => a.to_be(reg(*dst), *bits),
            1 => a.to_le(reg(*dst), *bits),
            _ => a.bswap(reg(*dst), *bits),
        },
        Call::Load { size: s, dst, base, off, signed: true } => a.load_sx(size(*s), reg(*dst), reg(*base), *off),
        Call::Load { size: s, dst, base, off, signed: false } => a.load(size(*s), reg(*dst), reg(*base), *off),
        Call::Store { size: s, base, off, value } => a.store(size(*s), reg(*base), *off, value),
        Call::Atomic { op, size: s, base, off, src } => {
            let op = AtomicOp::ALL[usize::from(*op) % AtomicOp::ALL.len()];
            a.atomic(op, size(*s), reg(*base), *off, reg(*src));
        }
        Call::Imm64 { dst, value } => a.load_imm64(reg(*dst), *value),
        Call::Map { dst, map } => a.load_map(reg(*dst), MapRef((*map).into())),
        Call::MapValue { dst, map, offset } => a.load_map_value(reg(*dst), MapRef((*map).into()), *offset),
        Call::Func { dst, label: l } => a.load_func(reg(*dst), label(*l)),
        Call::Ksym { dst, id } => a.load_ksym(reg(*dst), *id, 0),
        Call::Packet { size: s, src: Some(src), offset } => a.ld_ind(size(*s), reg(*src), *offset),
        Call::Packet { size: s, src: None, offset } => a.ld_abs(size(*s), *offset),
        Call::Helper(id) => a.call(*id),
        Call::Kfunc(id) => a.call_kfunc(*id, 0),
        Call::Sub { label: l } => a.call_sub(label(*l)),
        Call::Jump { cond, dst, src, label: l, narrow } => {
            let cond = Cond::ALL[usize::from(*cond) % Cond::ALL.len()];
            if *narrow { a.jump32(cond, reg(*dst), src, label(*l)) } else { a.jump(cond, reg(*dst), src, label(*l)) }
        }
        Call::Goto { label: l } => a.goto(label(*l)),
        Call::MayGoto { label: l } => a.may_goto(label(*l)),
        Call::Bind { label: l } => a.bind(label(*l)),
        Call::Comment(text) => a.comment(text.as_str()),
        Call::Fill(count) => {
            *fills += 1;
            if *fills <= FILLS {
                (0..*count).for_each(|_| a.mov(Reg::R0, 0));
            }
        }
        Call::Exit => a.exit(),
    }
}

fn round_trip<B: ByteOrder>(program: &Program) {
    let bytes = program.encode::<B>(|map| Some(map.0 as i32)).expect("every map has a descriptor");
    let decoded = decode_program::<B>(&bytes).expect("an encoded program has whole slots");
    assert_eq!(decoded, program.insns());
}

/// Checks one input.
pub(crate) fn check(bytes: &[u8]) {
    // Bytes that make no input say nothing.
    let Ok(input) = <Input>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let features = input.features.map_or(Features::all(), Features::from_bits_truncate);
    let mut a = Asm::with_features(features);
    let labels = ["first", "second", "third", "fourth"].map(|name| a.label(name));
    let mut fills = 0;
    for call in &input.calls {
        make(&mut a, call, &labels, &mut fills);
    }
    let program = match a.finish() {
        Ok(program) => program,
        Err(error) => {
            assert!(error.to_string().contains(".rs:"), "an error without a Rust line: {error}");
            return;
        }
    };
    for insn in program.insns() {
        assert!(features.contains(Features::needed_by(*insn)), "{insn:?} is not allowed by {features:?}");
    }
    round_trip::<LittleEndian>(&program);
    round_trip::<BigEndian>(&program);
    if program.insns().len() > TEXT {
        return;
    }
    let mut text = Vec::new();
    write_text(program.insns(), &mut text).expect("a vector takes any number of bytes");
    let text = String::from_utf8(text).expect("the disassembler writes ASCII");
    assert!(!text.contains(".slot"), "the builder made an instruction that the kernel's words do not determine");
    assert_eq!(parse_program(&text).expect("the parser reads the disassembler's text"), program.insns());
    Listing::new(&program).hex(true).write(&mut std::io::sink()).expect("a sink takes any number of bytes");
    if let Some(info) = program.debug_info::<LittleEndian>("fuzz") {
        assert!(info.line_info.len() >= info.func_info.len() * 2, "a function without a line");
    }
}
