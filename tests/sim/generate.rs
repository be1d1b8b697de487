//! Random programs for both types, about half of which the kernel accepts.
//!
//! A program is made of idioms (arithmetic, a bounded access, a lookup with its check, ...) whose every choice is taken from a
//! list of numbers: proptest shrinks the list, a long run draws it from a generator of its own. Any list gives a program.

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, ProgType, ProgramSpec, SpecialField, map_type};

/// The maps that every program may use, by number. The kernel side of a comparison creates the same.
pub(crate) fn maps() -> Vec<MapSpec> {
    let map = |map_type, key_size, value_size, max_entries| MapSpec {
        map_type,
        key_size,
        value_size,
        max_entries,
        ..MapSpec::default()
    };
    vec![
        map(map_type::HASH, 4, 48, 16),
        map(map_type::ARRAY, 4, 16, 1),
        map(map_type::ARRAY, 4, 32, 8),
        map(map_type::RINGBUF, 0, 0, 4096),
        map(map_type::SOCKHASH, 8, 4, 16),
        map(map_type::PERCPU_ARRAY, 4, 8, 4),
        map(map_type::PROG_ARRAY, 4, 4, 4),
        MapSpec {
            special: vec![SpecialField { name: "bpf_spin_lock".into(), offset: 4 }],
            ..map(map_type::HASH, 4, 16, 4)
        },
        MapSpec { map_flags: 0x80, data: Some((0..16).collect()), frozen: true, ..map(map_type::ARRAY, 4, 16, 1) },
        map(map_type::QUEUE, 0, 8, 4),
    ]
}

/// Programs, with shrinking.
pub(crate) fn programs() -> impl Strategy<Value = ProgramSpec> {
    (any::<bool>(), vec(any::<u32>(), 0..160))
        .prop_map(|(msg, choices)| program(if msg { ProgType::SK_MSG } else { ProgType::SOCK_OPS }, &choices))
}

/// The program that these choices make.
pub(crate) fn program(prog_type: ProgType, choices: &[u32]) -> ProgramSpec {
    let mut writer = Writer { choices, used: 0, insns: Vec::new(), loads: Vec::new(), prog_type, in_subprog: false };
    writer.all();
    ProgramSpec {
        name: "random".into(),
        prog_type,
        insns: writer.insns,
        maps: maps(),
        map_loads: writer.loads,
        ..ProgramSpec::default()
    }
}

struct Writer<'a> {
    choices: &'a [u32],
    used: usize,
    insns: Vec<Insn>,
    loads: Vec<MapLoad>,
    prog_type: ProgType,
    in_subprog: bool,
}

const FP: u8 = 10;
/// Numbers in which verifiers take an interest.
const NUMBERS: [i32; 24] =
    [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 4096, 65535, i32::MAX, i32::MIN, -1, -2, -8, -128];
const ALU: [u8; 12] =
    [op::ADD, op::SUB, op::MUL, op::OR, op::AND, op::LSH, op::RSH, op::XOR, op::ARSH, op::DIV, op::MOD, op::MOV];
const JUMPS: [u8; 11] =
    [op::JEQ, op::JGT, op::JGE, op::JSET, op::JNE, op::JSGT, op::JSGE, op::JLT, op::JLE, op::JSLT, op::JSLE];
const SIZES: [(u8, i16); 4] = [(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)];

impl Writer<'_> {
    fn next(&mut self) -> u32 {
        let choice = self.choices.get(self.used).copied().unwrap_or(0);
        self.used += 1;
        choice
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn number(&mut self) -> i32 {
        match self.below(8) {
            0 => self.next() as i32,
            1 | 2 => self.below(64) as i32,
            _ => self.pick(&NUMBERS),
        }
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

    fn add(&mut self, dst: u8, imm: i32) {
        self.emit(op::ALU64 | op::ADD | op::K, dst, 0, 0, imm);
    }

    fn call(&mut self, helper: i32) {
        self.emit(op::JMP | op::CALL, 0, 0, 0, helper);
    }

    fn map(&mut self, dst: u8, map: usize, source: u8, offset: i32) {
        self.loads.push(MapLoad { insn: self.insns.len(), map });
        self.emit(op::LD | op::IMM | op::DW, dst, source, 0, map as i32);
        self.emit(0, 0, 0, 0, offset);
    }

    /// A register that holds a number: r7 to r9 do.
    fn scalar(&mut self) -> u8 {
        7 + self.below(3) as u8
    }

    fn any_reg(&mut self) -> u8 {
        self.below(11) as u8
    }

    /// `if reg cond imm` over what `body` writes.
    fn unless(&mut self, code: u8, dst: u8, src: u8, imm: i32, body: impl FnOnce(&mut Self)) {
        let at = self.insns.len();
        self.emit(code, dst, src, 0, imm);
        body(self);
        self.insns[at].off = (self.insns.len() - at - 1) as i16;
    }

    fn all(&mut self) {
        self.copy(6, 1);
        for reg in 7..10 {
            self.fresh(reg);
        }
        let subprog = self.one_in(6);
        let calls_at = self.insns.len();
        if subprog {
            self.scalar_args();
            self.emit(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, 0);
            self.scalar_or(0, 8);
        }
        let idioms = 1 + self.below(9);
        for _ in 0..idioms {
            self.idiom(0);
        }
        self.finish();
        if subprog {
            let start = self.insns.len();
            let call = calls_at
                + self.insns[calls_at..]
                    .iter()
                    .position(|insn| insn.src == op::PSEUDO_CALL && insn.code == op::JMP | op::CALL)
                    .unwrap_or(0);
            self.insns[call].imm = (start - call - 1) as i32;
            self.in_subprog = true;
            self.copy(6, 1);
            for reg in 7..10 {
                self.fresh(reg);
            }
            for _ in 0..=self.below(3) {
                self.idiom(0);
            }
            self.finish();
        }
        if self.one_in(5) {
            self.damage();
        }
    }

    fn scalar_args(&mut self) {
        self.copy(1, 6);
        self.copy(2, 7);
        self.copy(3, FP);
        self.mov(4, 0);
        self.mov(5, 0);
    }

    fn scalar_or(&mut self, result: u8, dst: u8) {
        if self.one_in(2) {
            self.copy(dst, result);
        }
    }

    /// Gives `reg` a number that is more or less known.
    fn fresh(&mut self, reg: u8) {
        match self.below(4) {
            0 => {
                let imm = self.number();
                self.mov(reg, imm);
            }
            1 => {
                self.call(7);
                self.copy(reg, 0);
            }
            2 if !self.in_subprog => {
                let off = 16 + 4 * self.below(10) as i16;
                self.emit(op::LDX | op::MEM | op::W, reg, 6, off, 0);
            }
            _ => {
                self.call(5);
                self.copy(reg, 0);
                let mask = self.number();
                self.emit(op::ALU64 | op::AND | op::K, reg, 0, 0, mask);
            }
        }
    }

    fn finish(&mut self) {
        match self.below(6) {
            0 => {
                let reg = self.scalar();
                self.copy(0, reg);
                if self.one_in(2) {
                    self.emit(op::ALU64 | op::AND | op::K, 0, 0, 0, 1);
                }
            }
            1 => {
                let reg = self.scalar();
                self.copy(0, reg);
                self.unless(op::JMP | op::JLE | op::K, 0, 0, 1, |w| w.mov(0, 0));
            }
            2 => {
                let value = self.pick(&[0, 1, 1, 0, 2]);
                self.mov(0, value);
            }
            _ => self.mov(0, 1),
        }
        self.emit(op::JMP | op::EXIT, 0, 0, 0, 0);
    }

    fn idiom(&mut self, depth: usize) {
        match self.below(20) {
            0..=3 => self.arithmetic(),
            4 | 5 => self.branch(depth),
            6 | 7 => self.stack(),
            8 => self.stack_variable(),
            9 | 10 => self.lookup(),
            11 => self.packet(),
            12 => self.context(),
            13 => self.socket(),
            14 => self.helper(),
            15 => self.ring(),
            16 => self.count_loop(depth),
            17 => self.atomic(),
            18 => self.direct_value(),
            _ => self.lock(),
        }
    }

    fn arithmetic(&mut self) {
        for _ in 0..=self.below(4) {
            let class = self.pick(&[op::ALU64, op::ALU64, op::ALU]);
            let dst = self.scalar();
            match self.below(12) {
                0 => self.emit(class | op::NEG, dst, 0, 0, 0),
                1 => {
                    let width = self.pick(&[16, 32, 64]);
                    let source = if class == op::ALU { self.pick(&[op::K, op::X]) } else { op::K };
                    self.emit(class | op::END | source, dst, 0, 0, width);
                }
                2 => {
                    let src = self.scalar();
                    let off = self.pick(&[0, 8, 16]);
                    self.emit(class | op::MOV | op::X, dst, src, off, 0);
                }
                3 | 4 => {
                    let (operation, src) = (self.pick(&ALU), self.scalar());
                    let off = i16::from(matches!(operation, op::DIV | op::MOD) && self.one_in(3));
                    self.emit(class | operation | op::X, dst, src, off, 0);
                }
                _ => {
                    let operation = self.pick(&ALU);
                    let mut imm = self.number();
                    if matches!(operation, op::LSH | op::RSH | op::ARSH) {
                        imm &= if class == op::ALU { 31 } else { 63 };
                    } else if matches!(operation, op::DIV | op::MOD) && imm == 0 {
                        imm = 1;
                    }
                    self.emit(class | operation | op::K, dst, 0, 0, imm);
                }
            }
        }
    }

    fn condition(&mut self) -> (u8, u8, u8, i32) {
        let class = self.pick(&[op::JMP, op::JMP, op::JMP32]);
        let (jump, dst) = (self.pick(&JUMPS), self.scalar());
        if self.one_in(3) {
            let src = self.scalar();
            (class | jump | op::X, dst, src, 0)
        } else {
            (class | jump | op::K, dst, 0, self.number())
        }
    }

    fn branch(&mut self, depth: usize) {
        let (code, dst, src, imm) = self.condition();
        self.unless(code, dst, src, imm, |w| {
            if depth < 3 {
                for _ in 0..=w.below(2) {
                    w.idiom(depth + 1);
                }
            } else {
                w.arithmetic();
            }
        });
    }

    fn slot(&mut self, size: i16) -> i16 {
        let span = if self.one_in(24) { 600 } else { 64 };
        -size * (1 + self.below(span / size as usize) as i16)
    }

    fn stack(&mut self) {
        for _ in 0..=self.below(3) {
            let (size, bytes) = self.pick(&SIZES);
            let off = self.slot(bytes);
            match self.below(7) {
                0 => {
                    let imm = self.number();
                    self.emit(op::ST | op::MEM | size, FP, 0, off, imm);
                }
                1 | 2 => {
                    let src = self.scalar();
                    self.emit(op::STX | op::MEM | size, FP, src, off, 0);
                }
                3 => self.emit(op::STX | op::MEM | op::DW, FP, 6, off & !7, 0),
                4 if bytes < 8 => {
                    let dst = self.scalar();
                    self.emit(op::LDX | op::MEMSX | size, dst, FP, off, 0);
                }
                _ => {
                    let dst = self.scalar();
                    self.emit(op::LDX | op::MEM | size, dst, FP, off, 0);
                }
            }
        }
    }

    /// An access to the stack through a pointer that moves.
    fn stack_variable(&mut self) {
        let index = self.scalar();
        let mask = self.pick(&[7, 8, 24, 56, 0xf8, 63]);
        self.copy(2, index);
        self.emit(op::ALU64 | op::AND | op::K, 2, 0, 0, mask);
        self.copy(3, FP);
        let base = self.pick(&[-64, -72, -128, -256, -512, -8]);
        self.add(3, base);
        self.emit(op::ALU64 | op::ADD | op::X, 3, 2, 0, 0);
        let (size, _) = if self.one_in(2) { SIZES[0] } else { self.pick(&SIZES) };
        let value = self.scalar();
        match self.below(3) {
            0 => self.emit(op::LDX | op::MEM | size, value, 3, 0, 0),
            1 => self.emit(op::STX | op::MEM | size, 3, value, 0, 0),
            _ => self.emit(op::ST | op::MEM | size, 3, 0, 0, 0),
        }
    }

    /// A lookup, its check and accesses to the value.
    fn lookup(&mut self) {
        let map = self.pick(&[0, 0, 1, 2, 2, 5, 7, 8, 4, 9]);
        let key = self.slot(4).max(-64);
        match self.below(3) {
            0 => self.emit(op::ST | op::MEM | op::W, FP, 0, key, 1),
            1 => {
                let src = self.scalar();
                self.emit(op::STX | op::MEM | op::W, FP, src, key, 0);
            }
            _ => self.emit(op::ST | op::MEM | op::DW, FP, 0, key & !7, 0),
        }
        self.map(1, map, op::PSEUDO_MAP_FD, 0);
        self.copy(2, FP);
        self.add(2, i32::from(key));
        match self.below(8) {
            0 => {
                self.copy(3, FP);
                self.add(3, -64);
                self.mov(4, 0);
                self.call(2);
                return;
            }
            1 => return self.call(3),
            _ => self.call(1),
        }
        let checked = !self.one_in(10);
        if checked {
            self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, Self::value_access);
        } else {
            self.value_access();
        }
    }

    fn value_access(&mut self) {
        self.copy(1, 0);
        for _ in 0..=self.below(2) {
            if self.one_in(2) {
                let index = self.scalar();
                self.copy(2, index);
                match self.below(3) {
                    0 => {
                        let mask = self.pick(&[3, 7, 15, 31, 8]);
                        self.emit(op::ALU64 | op::AND | op::K, 2, 0, 0, mask);
                        self.bounded_access();
                    }
                    1 => {
                        let limit = self.pick(&[4, 8, 15, 31, 40, 48]);
                        self.unless(op::JMP | op::JGT | op::K, 2, 0, limit, Self::bounded_access);
                    }
                    _ => {
                        let limit = self.pick(&[4, 8, 15, 31, 40, 48]);
                        self.unless(op::JMP | op::JSGT | op::K, 2, 0, limit, |w| {
                            w.unless(op::JMP | op::JSLT | op::K, 2, 0, 0, Self::bounded_access);
                        });
                    }
                }
            } else {
                let (size, bytes) = self.pick(&SIZES);
                let places = if self.one_in(12) { 7 } else { 16 / bytes as usize };
                let off = bytes * self.below(places) as i16;
                self.touch(1, size, off);
            }
        }
    }

    fn bounded_access(&mut self) {
        self.copy(3, 1);
        self.emit(op::ALU64 | op::ADD | op::X, 3, 2, 0, 0);
        let (size, _) = self.pick(&SIZES);
        let off = self.pick(&[0, 0, 1, 4, 8]);
        self.touch(3, size, off);
    }

    /// A load or store through `base`.
    fn touch(&mut self, base: u8, size: u8, off: i16) {
        let value = self.scalar();
        match self.below(4) {
            0 => self.emit(op::STX | op::MEM | size, base, value, off, 0),
            1 => self.emit(op::ST | op::MEM | size, base, 0, off, 7),
            2 if size != op::DW => self.emit(op::LDX | op::MEMSX | size, value, base, off, 0),
            _ => self.emit(op::LDX | op::MEM | size, value, base, off, 0),
        }
    }

    fn packet(&mut self) {
        if self.in_subprog {
            return;
        }
        let start = if self.prog_type == ProgType::SK_MSG { 0 } else { 192 };
        self.emit(op::LDX | op::MEM | op::DW, 2, 6, start, 0);
        self.emit(op::LDX | op::MEM | op::DW, 3, 6, start + 8, 0);
        self.copy(4, 2);
        if self.one_in(3) {
            let index = self.scalar();
            self.copy(5, index);
            let mask = self.pick(&[7, 255, 0xfff, 0xffff]);
            self.emit(op::ALU64 | op::AND | op::K, 5, 0, 0, mask);
            self.emit(op::ALU64 | op::ADD | op::X, 4, 5, 0, 0);
            self.copy(2, 4);
        }
        let reach = self.pick(&[1, 4, 8, 8, 16, 64]);
        self.add(4, reach);
        let (jump, dst, src) = self.pick(&[
            (op::JGT, 4, 3),
            (op::JLT, 3, 4),
            (op::JGE, 4, 3),
            (op::JLE, 3, 4),
            (op::JLE, 4, 3),
            (op::JGE, 3, 4),
        ]);
        self.unless(op::JMP | jump | op::X, dst, src, 0, |w| {
            let (size, bytes) = w.pick(&SIZES);
            let off =
                if w.one_in(12) { w.pick(&[bytes, -bytes]) } else { w.pick(&[0, 0, (reach as i16 - bytes).max(0)]) };
            if w.prog_type == ProgType::SK_MSG || w.one_in(12) {
                w.touch(2, size, off);
            } else {
                let value = w.scalar();
                w.emit(op::LDX | op::MEM | size, value, 2, off, 0);
            }
        });
        if self.one_in(4) && self.prog_type == ProgType::SK_MSG {
            self.copy(1, 6);
            self.mov(2, 0);
            self.mov(3, 8);
            self.mov(4, 0);
            self.call(63);
        }
    }

    fn context(&mut self) {
        if self.in_subprog {
            return;
        }
        let (size, bytes) = if self.one_in(4) { self.pick(&SIZES) } else { SIZES[2] };
        let fields = if self.one_in(4) { 60 } else { 17 };
        let off = bytes * self.below(fields) as i16;
        let reg = self.scalar();
        match self.below(6) {
            0 if self.prog_type == ProgType::SOCK_OPS || self.one_in(8) => {
                self.emit(op::STX | op::MEM | op::W, 6, reg, 4, 0);
            }
            1 if self.one_in(6) => self.emit(op::STX | op::MEM | size, 6, reg, off, 0),
            _ if self.one_in(8) => self.emit(op::LDX | op::MEM | size, reg, 6, off, 0),
            _ => {
                let off = 16 + 4 * self.below(13) as i16;
                self.emit(op::LDX | op::MEM | op::W, reg, 6, off, 0);
            }
        }
        // The register may now hold a pointer; make it a number again.
        self.fresh(reg);
    }

    fn socket(&mut self) {
        if self.in_subprog {
            return;
        }
        let off = if self.prog_type == ProgType::SK_MSG { 72 } else { 184 };
        self.emit(op::LDX | op::MEM | op::DW, 1, 6, off, 0);
        let body = |w: &mut Self| {
            let reg = w.scalar();
            if w.one_in(8) {
                let (size, bytes) = w.pick(&SIZES);
                let off = bytes * w.below(20) as i16;
                w.emit(op::LDX | op::MEM | size, reg, 1, off, 0);
            } else {
                let off = 4 * w.below(12) as i16;
                w.emit(op::LDX | op::MEM | op::W, reg, 1, off, 0);
            }
            if w.one_in(3) && w.prog_type == ProgType::SOCK_OPS {
                w.call(96);
                w.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| {
                    let off = 4 * w.below(28) as i16;
                    w.emit(op::LDX | op::MEM | op::W, 8, 0, off, 0);
                });
            }
        };
        if self.prog_type == ProgType::SOCK_OPS && !self.one_in(8) {
            self.unless(op::JMP | op::JEQ | op::K, 1, 0, 0, body);
        } else {
            body(self);
        }
    }

    /// A call with arguments that are often right.
    fn helper(&mut self) {
        match self.below(8) {
            0 => {
                // probe_read_kernel and its like: memory, size, address.
                self.copy(1, FP);
                let base = self.slot(8);
                self.add(1, i32::from(base));
                let size = self.scalar();
                self.copy(2, size);
                let mask = self.pick(&[7, 7, 15, 63, 255]);
                self.emit(op::ALU64 | op::AND | op::K, 2, 0, 0, mask);
                self.mov(3, 0);
                let helper = self.pick(&[113, 113, 115, 16]);
                self.call(helper);
                if self.one_in(2) {
                    self.copy(7, 0);
                }
            }
            1 => {
                self.copy(1, 6);
                let helper = self.pick(&[46, 122, 61, 62, 59, 14, 80]);
                let value = self.scalar();
                self.copy(2, value);
                self.call(helper);
                self.scalar_or(0, 9);
            }
            2 => {
                self.copy(1, 6);
                self.map(2, 4, op::PSEUDO_MAP_FD, 0);
                self.copy(3, FP);
                self.add(3, -8);
                self.mov(4, 1);
                let helper = self.pick(&[70, 71]);
                self.call(helper);
            }
            3 => {
                self.copy(1, 6);
                self.map(2, 6, op::PSEUDO_MAP_FD, 0);
                let index = self.scalar();
                self.copy(3, index);
                self.call(12);
                // Nothing is known of r0 after a failed tail call.
                self.mov(0, 0);
            }
            4 => {
                self.map(1, 9, op::PSEUDO_MAP_FD, 0);
                self.copy(2, FP);
                self.add(2, -16);
                self.mov(3, 0);
                let helper = self.pick(&[87, 88, 89]);
                self.call(helper);
            }
            5 => {
                for reg in 1..6 {
                    match self.below(5) {
                        0 => self.copy(reg, 6),
                        1 => {
                            self.copy(reg, FP);
                            self.add(reg, -32);
                        }
                        2 => {
                            let map = self.below(10);
                            self.map(reg, map, op::PSEUDO_MAP_FD, 0);
                        }
                        3 => self.mov(reg, 8),
                        _ => {
                            let imm = self.number();
                            self.mov(reg, imm);
                        }
                    }
                }
                let helper = self.below(212) as i32;
                self.call(helper);
            }
            _ => {
                let helper = self.pick(&[5, 7, 8, 14, 15, 35, 42, 80, 118, 125, 160, 208]);
                self.call(helper);
                let dst = self.scalar();
                self.copy(dst, 0);
            }
        }
    }

    fn ring(&mut self) {
        self.map(1, 3, op::PSEUDO_MAP_FD, 0);
        let size = self.pick(&[8, 16, 24, 64]);
        self.mov(2, size);
        self.mov(3, 0);
        self.call(131);
        let forget = self.one_in(8);
        self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| {
            w.copy(1, 0);
            let (size, bytes) = w.pick(&SIZES);
            let off = bytes * w.below(4) as i16;
            w.touch(1, size, off);
            if !forget {
                w.mov(2, 0);
                let helper = w.pick(&[132, 133]);
                w.call(helper);
            }
        });
    }

    fn count_loop(&mut self, depth: usize) {
        let counter = self.scalar();
        let rounds = self.pick(&[2, 3, 4, 5, 8]);
        self.mov(counter, 0);
        let head = self.insns.len();
        if depth < 2 {
            self.idiom(3);
        }
        // Without a step the loop never ends, which takes the kernel a second to find out.
        let endless = self.one_in(200);
        self.add(counter, i32::from(!endless));
        let jump = self.pick(&[op::JLT, op::JLT, op::JNE, op::JSLT]);
        let back = head as i64 - self.insns.len() as i64 - 1;
        self.emit(op::JMP | jump | op::K, counter, 0, back as i16, rounds);
    }

    fn atomic(&mut self) {
        let (size, bytes) = if self.one_in(2) { SIZES[2] } else { SIZES[3] };
        let off = self.slot(bytes).max(-64);
        let value = self.scalar();
        self.emit(op::STX | op::MEM | size, FP, value, off, 0);
        let operation = self.pick(&[
            op::ADD as i32,
            op::ADD as i32 | op::FETCH,
            op::OR as i32 | op::FETCH,
            op::AND as i32,
            op::XOR as i32 | op::FETCH,
            op::XCHG,
            op::CMPXCHG,
            op::LOAD_ACQ,
            op::STORE_REL,
        ]);
        if operation == op::CMPXCHG {
            self.mov(0, 0);
        }
        let value = self.scalar();
        let (dst, src) = if operation == op::LOAD_ACQ { (value, FP) } else { (FP, value) };
        self.emit(op::STX | op::ATOMIC | size, dst, src, off, operation);
    }

    fn direct_value(&mut self) {
        let map = if self.one_in(20) { 2 } else { self.pick(&[1, 1, 8]) };
        let offset = self.pick(&[0, 0, 0, 0, 0, 4, 8, 15, 16]);
        self.map(1, map, op::PSEUDO_MAP_VALUE, offset);
        let (size, _) = self.pick(&SIZES);
        let off = self.pick(&[0, 0, 0, 1, 8]);
        self.touch(1, size, off);
        if self.one_in(2) {
            self.value_access_from(1);
        }
    }

    fn value_access_from(&mut self, reg: u8) {
        self.copy(0, reg);
        self.value_access();
    }

    fn lock(&mut self) {
        self.emit(op::ST | op::MEM | op::W, FP, 0, -4, 1);
        self.map(1, 7, op::PSEUDO_MAP_FD, 0);
        self.copy(2, FP);
        self.add(2, -4);
        self.call(1);
        self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| {
            w.emit(op::STX | op::MEM | op::DW, FP, 0, -16, 0);
            w.copy(1, 0);
            let off = if w.one_in(16) { 0 } else { 4 };
            w.add(1, off);
            w.call(93);
            w.emit(op::LDX | op::MEM | op::DW, 1, FP, -16, 0);
            if w.one_in(4) {
                w.touch(1, op::W, 8);
            }
            w.add(1, 4);
            if !w.one_in(10) {
                w.call(94);
            }
        });
    }

    /// Changes one instruction at random.
    fn damage(&mut self) {
        let at = self.below(self.insns.len());
        let field = self.below(6);
        let (reg, off, number) = (self.any_reg(), self.next() as i16, self.number());
        let loads_map = self.loads.iter().any(|load| load.insn == at || load.insn + 1 == at);
        if loads_map {
            return;
        }
        let insn = &mut self.insns[at];
        match field {
            0 => insn.dst = reg,
            1 => insn.src = reg,
            2 => insn.off = off % 64,
            3 => insn.imm = number,
            4 => insn.code ^= 1 << (off & 7),
            _ => insn.code = (insn.code & 0x0f) | (off as u8 & 0xf0),
        }
    }
}
