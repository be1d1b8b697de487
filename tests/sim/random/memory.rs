//! Idioms of memory: the stack, the values of maps, the packet, the context.

use super::{CONSTANT, FP, LOCKED, QUEUE, SIZES, SOCKHASH, Writer, maps};
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::ProgType;

/// Where idioms keep a pointer on the stack, out of the reach of the others.
pub(super) const POINTER: i16 = -264;

/// The value of a map, as an idiom may use it.
#[derive(Clone, Copy)]
struct Value {
    /// Bytes from the pointer that is held to its end.
    room: i16,
    writable: bool,
    /// Bytes at the start that may not be touched.
    locked: i16,
}

impl Writer<'_> {
    /// A place on the stack for `size` bytes; rarely outside it.
    pub(super) fn slot(&mut self, size: i16) -> i16 {
        let span = if self.one_in(2 * super::FLAWS) { 600 } else { 64 };
        -size * (1 + self.below(span / size as usize) as i16)
    }

    pub(super) fn stack(&mut self) {
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
                3 => {
                    // A pointer comes and goes; elsewhere it would be taken for a number later.
                    let off = if self.flaw() { off & !7 } else { POINTER };
                    self.emit(op::STX | op::MEM | op::DW, FP, 6, off, 0);
                    self.emit(op::LDX | op::MEM | op::DW, 6, FP, off, 0);
                }
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
    pub(super) fn stack_variable(&mut self) {
        let index = self.scalar();
        let (size, bytes) = if self.one_in(2) { SIZES[0] } else { self.pick(&SIZES) };
        // Accesses to the stack must be aligned.
        let alignment = if self.flaw() { 1 } else { i32::from(bytes) };
        let mask = self.pick(&[7, 8, 24, 56, 0xf8, 63]) & -alignment;
        self.copy(2, index);
        self.and(2, mask);
        let mut base = -((mask + i32::from(bytes) + 7) & !7);
        if self.flaw() {
            base = self.pick(&[-64, -128, -512, -8]);
        } else if self.one_in(3) {
            base -= 64;
        }
        self.frame(3, base);
        self.emit(op::ALU64 | op::ADD | op::X, 3, 2, 0, 0);
        let value = self.scalar();
        match self.below(3) {
            0 => self.emit(op::LDX | op::MEM | size, value, 3, 0, 0),
            1 => self.emit(op::STX | op::MEM | size, 3, value, 0, 0),
            _ => self.emit(op::ST | op::MEM | size, 3, 0, 0, 0),
        }
    }

    /// A lookup, its check and accesses to the value.
    pub(super) fn lookup(&mut self) {
        let map =
            if self.flaw() { self.pick(&[LOCKED, SOCKHASH, QUEUE]) } else { self.pick(&[0, 0, 1, 2, 2, 5, CONSTANT]) };
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
        self.frame(2, key.into());
        match self.below(8) {
            0 if map != CONSTANT || self.flaw() => {
                self.frame(3, -64);
                self.mov(4, 0);
                self.call(2);
                return;
            }
            1 if map != CONSTANT || self.flaw() => return self.call(3),
            _ => self.call(1),
        }
        let room = maps()[map].value_size as i16;
        let value = Value { room, writable: map != CONSTANT, locked: if map == LOCKED { 8 } else { 0 } };
        if self.flaw() {
            self.value_access(value);
        } else {
            self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| w.value_access(value));
        }
    }

    /// Accesses to the value to which r0 points.
    fn value_access(&mut self, value: Value) {
        self.copy(1, 0);
        for _ in 0..=self.below(2) {
            let fitting = SIZES.iter().filter(|(_, bytes)| *bytes <= value.room - value.locked).count();
            if fitting == 0 {
                return;
            }
            let (size, bytes) = SIZES[self.below(fitting)];
            let mut last = value.room - bytes;
            if self.flaw() {
                last += bytes;
            }
            if self.one_in(2) && value.locked == 0 {
                let off = if self.one_in(3) { last.min(1) } else { 0 };
                self.bounded_access(size, last - off, off, value.writable);
            } else {
                let places = (last - value.locked) / bytes + 1;
                let off = value.locked + bytes * self.below(places.max(1) as usize) as i16;
                self.touch(1, size, off, value.writable);
            }
        }
    }

    /// An access at r1 plus a number that is at most `limit`, plus `off`.
    fn bounded_access(&mut self, size: u8, limit: i16, off: i16, writable: bool) {
        let limit = i32::from(limit);
        let index = self.scalar();
        self.copy(2, index);
        let access = |w: &mut Self| {
            w.copy(3, 1);
            w.emit(op::ALU64 | op::ADD | op::X, 3, 2, 0, 0);
            w.touch(3, size, off, writable);
        };
        match self.below(3) {
            0 => {
                let bits = 32 - limit.leading_zeros();
                let mask = if limit + 1 == 1 << bits { limit } else { (1 << bits.saturating_sub(1)) - 1 };
                self.and(2, mask);
                access(self);
            }
            1 => self.unless(op::JMP | op::JGT | op::K, 2, 0, limit, access),
            _ => self.unless(op::JMP | op::JSGT | op::K, 2, 0, limit, |w| {
                w.unless(op::JMP | op::JSLT | op::K, 2, 0, 0, access);
            }),
        }
    }

    /// A load or store through `base`.
    pub(super) fn touch(&mut self, base: u8, size: u8, off: i16, writable: bool) {
        let value = self.scalar();
        let writes = writable || self.flaw();
        match self.below(4) {
            0 if writes => self.emit(op::STX | op::MEM | size, base, value, off, 0),
            1 if writes => self.emit(op::ST | op::MEM | size, base, 0, off, 7),
            2 if size != op::DW => self.emit(op::LDX | op::MEMSX | size, value, base, off, 0),
            _ => self.emit(op::LDX | op::MEM | size, value, base, off, 0),
        }
    }

    pub(super) fn packet(&mut self) {
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
            self.and(5, mask);
            self.emit(op::ALU64 | op::ADD | op::X, 4, 5, 0, 0);
            self.copy(2, 4);
        }
        let reach = self.pick(&[1, 4, 8, 8, 16, 64]);
        self.add(4, i32::from(reach));
        let right = [(op::JGT, 4, 3), (op::JLT, 3, 4), (op::JGE, 4, 3), (op::JLE, 3, 4)];
        let wrong = [(op::JLE, 4, 3), (op::JGE, 3, 4)];
        let (jump, dst, src) = if self.flaw() { self.pick(&wrong) } else { self.pick(&right) };
        self.unless(op::JMP | jump | op::X, dst, src, 0, |w| {
            let fitting = SIZES.iter().filter(|(_, bytes)| *bytes <= reach).count();
            let (size, bytes) = SIZES[w.below(fitting)];
            let off = if w.flaw() { w.pick(&[reach, -bytes]) } else { w.pick(&[0, 0, reach - bytes]) };
            w.touch(2, size, off, w.prog_type == ProgType::SK_MSG);
        });
        if self.one_in(4) && self.prog_type == ProgType::SK_MSG {
            self.copy(1, 6);
            self.mov(2, 0);
            self.mov(3, 8);
            self.mov(4, 0);
            self.call(63);
        }
    }

    pub(super) fn context(&mut self) {
        if self.in_subprog {
            return;
        }
        let reg = self.scalar();
        let (size, bytes) = self.pick(&SIZES);
        let anywhere = bytes * self.below(232 / bytes as usize) as i16;
        match self.below(6) {
            0 if self.prog_type == ProgType::SOCK_OPS => {
                let off = self.pick(&[4, 164]);
                self.emit(op::STX | op::MEM | op::W, 6, reg, off, 0);
            }
            1 if self.flaw() => self.emit(op::STX | op::MEM | size, 6, reg, anywhere, 0),
            2 if self.one_in(4) => self.emit(op::LDX | op::MEM | size, reg, 6, anywhere, 0),
            3 if self.prog_type == ProgType::SOCK_OPS => {
                let (size, off) =
                    self.pick(&[(op::DW, 168), (op::DW, 176), (op::W, 208), (op::W, 212), (op::B, 212), (op::DW, 216)]);
                self.emit(op::LDX | op::MEM | size, reg, 6, off, 0);
            }
            _ => {
                let off = 16 + 4 * self.below(13) as i16;
                self.emit(op::LDX | op::MEM | op::W, reg, 6, off, 0);
            }
        }
        // The register may now hold a pointer; make it a number again.
        self.fresh(reg);
    }

    pub(super) fn atomic(&mut self) {
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

    /// Accesses to a map's value by its address.
    pub(super) fn direct_value(&mut self) {
        let map = if self.flaw() { 2 } else { self.pick(&[1, 1, CONSTANT]) };
        let offset = if self.flaw() { self.pick(&[15, 16]) } else { self.pick(&[0, 0, 0, 4, 8]) };
        let value = Value { room: 16 - offset, writable: map != CONSTANT, locked: 0 };
        self.map(0, map, op::PSEUDO_MAP_VALUE, offset.into());
        self.value_access(value);
    }
}
