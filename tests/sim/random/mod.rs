//! Random programs of both types, of which the kernel accepts about half, and a sandbox to run them in.
//!
//! A program is made of idioms (arithmetic, a bounded access, a lookup with its check, ...) whose every choice is taken from a
//! list of numbers: proptest and libFuzzer shrink the list, a long run draws it from a generator of its own. Any list gives a
//! program. Most idioms are right; a few have a flaw, and a few programs are damaged at one place.
//!
//! The fuzz target `sound` includes this directory, so it uses nothing but the library.

mod calls;
mod flow;
mod memory;
pub(crate) mod sandbox;

use sidestep::asm::Insn;
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::{MapLoad, MapSpec, MapType, ProgType, ProgramSpec, SpecialField};

/// `BPF_F_RDONLY_PROG` (include/uapi/linux/bpf.h).
const RDONLY_PROG: u32 = 0x80;

/// Numbers of [`maps`] that idioms ask for.
const RINGBUF: usize = 3;
const SOCKHASH: usize = 4;
const PROG_ARRAY: usize = 6;
const LOCKED: usize = 7;
const CONSTANT: usize = 8;
const QUEUE: usize = 9;

/// A map of this type and these sizes.
pub(crate) fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec { name: "sim".into(), map_type, key_size, value_size, max_entries, ..MapSpec::default() }
}

/// The maps that every program may use, by number. The kernel side of a comparison creates the same.
pub(crate) fn maps() -> Vec<MapSpec> {
    vec![
        map(MapType::HASH, 4, 48, 16),
        map(MapType::ARRAY, 4, 16, 1),
        map(MapType::ARRAY, 4, 32, 8),
        map(MapType::RINGBUF, 0, 0, 4096),
        map(MapType::SOCKHASH, 8, 4, 16),
        map(MapType::PERCPU_ARRAY, 4, 8, 4),
        map(MapType::PROG_ARRAY, 4, 4, 4),
        MapSpec {
            special: vec![SpecialField { name: "bpf_spin_lock".into(), offset: 4, ..SpecialField::default() }],
            ..map(MapType::HASH, 4, 16, 4)
        },
        MapSpec {
            map_flags: RDONLY_PROG,
            data: Some((0..16).collect()),
            frozen: true,
            ..map(MapType::ARRAY, 4, 16, 1)
        },
        map(MapType::QUEUE, 0, 8, 4),
    ]
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
const SIZES: [(u8, i16); 4] = [(op::B, 1), (op::H, 2), (op::W, 4), (op::DW, 8)];
/// One flaw in so many chances for one.
const FLAWS: usize = 4;

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

    /// Whether to do something that is likely wrong here.
    fn flaw(&mut self) -> bool {
        self.one_in(FLAWS)
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

    fn and(&mut self, dst: u8, imm: i32) {
        self.emit(op::ALU64 | op::AND | op::K, dst, 0, 0, imm);
    }

    /// A pointer to the stack.
    fn frame(&mut self, dst: u8, offset: i32) {
        self.copy(dst, FP);
        self.add(dst, offset);
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
        let call = self.insns.len() + 5;
        if subprog {
            self.copy(1, 6);
            self.copy(2, 7);
            self.copy(3, FP);
            self.mov(4, 0);
            self.mov(5, 0);
            self.emit(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, 0);
            self.maybe_keep(0, 8);
        }
        for _ in 0..=self.below(9) {
            self.idiom(0);
        }
        self.finish();
        if subprog {
            self.insns[call].imm = (self.insns.len() - call - 1) as i32;
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
        if self.one_in(7) {
            self.damage();
        }
    }

    /// Keeps a result in a register that lasts, or not.
    fn maybe_keep(&mut self, result: u8, dst: u8) {
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
                self.and(reg, mask);
            }
        }
    }

    fn finish(&mut self) {
        // SOCK_OPS returns 0 or 1.
        let free = self.prog_type == ProgType::SK_MSG || self.in_subprog || self.flaw();
        match self.below(6) {
            0 => {
                let reg = self.scalar();
                self.copy(0, reg);
                if !free || self.one_in(2) {
                    self.and(0, 1);
                }
            }
            1 => {
                let reg = self.scalar();
                self.copy(0, reg);
                self.unless(op::JMP | op::JLE | op::K, 0, 0, 1, |w| w.mov(0, 0));
            }
            2 if free => {
                let value = self.number();
                self.mov(0, value);
            }
            last => self.mov(0, (last & 1) as i32),
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

    /// Changes one instruction at random.
    fn damage(&mut self) {
        let at = self.below(self.insns.len());
        let field = self.below(6);
        let (reg, off, number) = (self.below(11) as u8, self.next() as i16, self.number());
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
