//! Large programs that the kernel accepts: branches on numbers, bounded loops, calls, lookups, spills.

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::{MapLoad, ProgType, ProgramSpec};

use crate::random::maps;
use crate::random::sandbox::Random;

/// Number of an array of 8 values of 32 bytes among [`maps`].
const ARRAY: usize = 2;
/// Functions that a program may call.
const FUNCTIONS: u32 = 4;

struct Writer {
    numbers: Random,
    insns: Vec<Insn>,
    loads: Vec<MapLoad>,
    /// Where functions are called, and which.
    calls: Vec<(usize, usize)>,
}

impl Writer {
    fn below(&mut self, end: u32) -> u32 {
        self.numbers.next() % end
    }

    fn emit(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn { code, dst, src, off, imm });
    }

    fn mov(&mut self, dst: u8, imm: i32) {
        self.emit(op::ALU64 | op::MOV | op::K, dst, 0, 0, imm);
    }

    fn copy(&mut self, dst: u8, src: u8) {
        self.emit(op::ALU64 | op::MOV | op::X, dst, src, 0, 0);
    }

    /// A number that is kept: r7 to r9.
    fn kept(&mut self) -> u8 {
        7 + self.below(3) as u8
    }

    /// `dst` = a number of the context, whose address is in r6.
    fn fresh(&mut self, dst: u8) {
        let field = 4 * self.below(3) as i16;
        self.emit(op::LDX | op::MEM | op::W, dst, 6, 24 + field, 0);
    }

    /// Changes a number that is kept.
    fn arithmetic(&mut self) {
        let (dst, src) = (self.kept(), self.kept());
        let imm = self.below(256) as i32;
        match self.below(6) {
            0 => self.emit(op::ALU64 | op::ADD | op::K, dst, 0, 0, imm),
            1 => self.emit(op::ALU64 | op::AND | op::K, dst, 0, 0, imm | 7),
            2 => self.emit(op::ALU | op::ADD | op::X, dst, src, 0, 0),
            3 => self.emit(op::ALU64 | op::XOR | op::X, dst, src, 0, 0),
            4 => self.emit(op::ALU64 | op::RSH | op::K, dst, 0, 0, imm % 8),
            _ => self.copy(dst, src),
        }
    }

    /// A comparison around a few instructions.
    fn branch(&mut self) {
        let conditions = [op::JGT, op::JEQ, op::JNE, op::JLT, op::JSGT, op::JSET];
        let condition = conditions[self.below(6) as usize];
        let class = if self.below(4) == 0 { op::JMP32 } else { op::JMP };
        let (dst, src, imm) = (self.kept(), self.kept(), self.below(300) as i32);
        let at = self.insns.len();
        if self.below(5) == 0 {
            self.emit(class | condition | op::X, dst, src, 0, 0);
        } else {
            self.emit(class | condition | op::K, dst, 0, 0, imm);
        }
        for _ in 0..=self.below(3) {
            self.arithmetic();
        }
        self.insns[at].off = (self.insns.len() - at - 1) as i16;
    }

    /// A number travels over the stack.
    fn spill(&mut self) {
        let (kept, back, slot) = (self.kept(), self.kept(), -8 * (1 + self.below(6) as i16));
        self.emit(op::STX | op::MEM | op::DW, 10, kept, slot, 0);
        if self.below(2) == 0 {
            self.branch();
        }
        self.emit(op::LDX | op::MEM | op::DW, back, 10, slot, 0);
    }

    /// A loop whose rounds are counted.
    fn count(&mut self) {
        let rounds = 2 + self.below(6) as i32;
        self.mov(1, 0);
        self.emit(op::STX | op::MEM | op::DW, 10, 1, -64, 0);
        let start = self.insns.len();
        self.arithmetic();
        if self.below(3) == 0 {
            self.branch();
        }
        self.emit(op::LDX | op::MEM | op::DW, 1, 10, -64, 0);
        self.emit(op::ALU64 | op::ADD | op::K, 1, 0, 0, 1);
        self.emit(op::STX | op::MEM | op::DW, 10, 1, -64, 0);
        let back = start as i64 - self.insns.len() as i64 - 1;
        self.emit(op::JMP | op::JLT | op::K, 1, 0, back as i16, rounds);
    }

    /// A lookup by a number, and an access at an offset that is one.
    fn lookup(&mut self) {
        let (key, offset) = (self.kept(), self.kept());
        self.emit(op::STX | op::MEM | op::W, 10, key, -4 - 64 - 8, 0);
        self.copy(2, 10);
        self.emit(op::ALU64 | op::ADD | op::K, 2, 0, 0, -4 - 64 - 8);
        self.loads.push(MapLoad { insn: self.insns.len(), map: ARRAY });
        self.emit(op::LD | op::IMM | op::DW, 1, op::PSEUDO_MAP_FD, 0, ARRAY as i32);
        self.emit(0, 0, 0, 0, 0);
        self.emit(op::JMP | op::CALL, 0, 0, 0, 1);
        self.emit(op::JMP | op::JEQ | op::K, 0, 0, 4, 0);
        self.copy(1, offset);
        self.emit(op::ALU64 | op::AND | op::K, 1, 0, 0, 15);
        self.emit(op::ALU64 | op::ADD | op::X, 0, 1, 0, 0);
        self.emit(op::LDX | op::MEM | op::B, 7, 0, 0, 0);
    }

    /// A call of a function, with two numbers.
    fn call(&mut self) {
        let (first, second, result, function) = (self.kept(), self.kept(), self.kept(), self.below(FUNCTIONS));
        self.copy(1, first);
        self.copy(2, second);
        self.calls.push((self.insns.len(), function as usize));
        self.emit(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, 0);
        self.copy(result, 0);
    }

    /// A function of two numbers.
    fn function(&mut self) {
        self.copy(7, 1);
        self.copy(8, 2);
        self.mov(9, 0);
        for _ in 0..=self.below(3) {
            self.branch();
        }
        if self.below(2) == 0 {
            self.spill();
        }
        let result = self.kept();
        self.copy(0, result);
        self.emit(op::JMP | op::EXIT, 0, 0, 0, 0);
    }
}

/// A program of about `size` instructions.
pub(crate) fn program(seed: u64, size: usize) -> ProgramSpec {
    let mut writer = Writer { numbers: Random::new(seed), insns: Vec::new(), loads: Vec::new(), calls: Vec::new() };
    writer.copy(6, 1);
    for reg in 7..10 {
        writer.fresh(reg);
    }
    while writer.insns.len() < size {
        match writer.below(16) {
            0..=4 => writer.branch(),
            5..=7 => writer.arithmetic(),
            8..=9 => writer.spill(),
            10 => writer.lookup(),
            11 => writer.count(),
            12 => writer.call(),
            _ => {
                let kept = writer.kept();
                writer.fresh(kept);
            }
        }
    }
    writer.mov(0, 1);
    writer.emit(op::JMP | op::EXIT, 0, 0, 0, 0);
    for function in 0..FUNCTIONS as usize {
        let start = writer.insns.len();
        if !writer.calls.iter().any(|(_, called)| *called == function) {
            continue;
        }
        writer.function();
        for (at, called) in writer.calls.clone() {
            if called == function {
                writer.insns[at].imm = (start - at - 1) as i32;
            }
        }
    }
    ProgramSpec {
        name: "large".into(),
        prog_type: ProgType::SK_MSG,
        insns: writer.insns,
        maps: maps(),
        map_loads: writer.loads,
        ..ProgramSpec::default()
    }
}
