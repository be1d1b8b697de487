//! Idioms of helpers.

use super::memory::POINTER;
use super::{FP, LOCKED, PROG_ARRAY, QUEUE, RINGBUF, SIZES, SOCKHASH, Writer};
use sidestep::asm::opcode as op;
use sidestep::verifier_sim::spec::ProgType;

impl Writer<'_> {
    pub(super) fn socket(&mut self) {
        if self.in_subprog {
            return;
        }
        let off = if self.prog_type == ProgType::SK_MSG { 72 } else { 184 };
        self.emit(op::LDX | op::MEM | op::DW, 1, 6, off, 0);
        let body = |w: &mut Self| {
            let reg = w.scalar();
            if w.one_in(12) {
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
                    let (size, off) = match w.below(21) {
                        20 => (op::DW, w.pick(&[80, 88])),
                        field => (op::W, 4 * field as i16),
                    };
                    w.emit(op::LDX | op::MEM | size, 8, 0, off, 0);
                });
            }
        };
        if self.prog_type == ProgType::SOCK_OPS && !self.flaw() {
            self.unless(op::JMP | op::JEQ | op::K, 1, 0, 0, body);
        } else {
            body(self);
        }
    }

    /// Puts the number in r2 between 1 (or 0) and the size of a place on the stack, whose address goes to r1.
    fn place_and_size(&mut self, may_be_empty: bool) {
        let size = self.scalar();
        self.copy(2, size);
        let mask = self.pick(&[7, 7, 15, 63, 255]);
        self.and(2, mask);
        if !may_be_empty {
            self.emit(op::ALU64 | op::OR | op::K, 2, 0, 0, 1);
        }
        let base = if self.flaw() { -8 } else { -mask - 1 };
        self.frame(1, base);
    }

    /// A call with arguments that are often right.
    pub(super) fn helper(&mut self) {
        match self.below(8) {
            0 => {
                let helper = self.pick(&[113, 113, 115, 16]);
                let exact = !self.flaw();
                self.place_and_size(helper != 16 || !exact);
                self.mov(3, 0);
                self.call(helper);
                self.maybe_keep(0, 7);
            }
            1 if !self.in_subprog => {
                self.copy(1, 6);
                let value = self.scalar();
                self.copy(2, value);
                let any = self.pick(&[46, 122, 61, 62, 59, 14, 80]);
                let mine = match self.prog_type {
                    ProgType::SK_MSG => self.pick(&[122, 61, 62, 14, 80]),
                    _ => self.pick(&[46, 122, 59, 14, 80]),
                };
                let helper = if self.flaw() { any } else { mine };
                self.call(helper);
                self.maybe_keep(0, 9);
            }
            2 if !self.in_subprog => {
                self.emit(op::ST | op::MEM | op::DW, FP, 0, -8, 3);
                self.copy(1, 6);
                self.map(2, SOCKHASH, op::PSEUDO_MAP_FD, 0);
                self.frame(3, -8);
                self.mov(4, 1);
                let mine = if self.prog_type == ProgType::SK_MSG { 71 } else { 70 };
                let helper = if self.flaw() { 141 - mine } else { mine };
                self.call(helper);
            }
            3 if !self.in_subprog => {
                self.copy(1, 6);
                self.map(2, PROG_ARRAY, op::PSEUDO_MAP_FD, 0);
                let index = self.scalar();
                self.copy(3, index);
                self.call(12);
                // Nothing is known of r0 after a failed tail call.
                self.mov(0, 0);
            }
            4 => {
                self.emit(op::ST | op::MEM | op::DW, FP, 0, -16, 9);
                self.map(1, QUEUE, op::PSEUDO_MAP_FD, 0);
                self.frame(2, -16);
                self.mov(3, 0);
                let helper = self.pick(&[87, 88, 89]);
                self.call(helper);
            }
            5 if self.one_in(3) => self.any_helper(),
            _ => {
                let helper = self.pick(&[5, 7, 8, 14, 15, 35, 42, 80, 118, 125, 160, 208]);
                self.call(helper);
                let dst = self.scalar();
                self.copy(dst, 0);
            }
        }
    }

    /// Any helper with any arguments.
    fn any_helper(&mut self) {
        for reg in 1..6 {
            match self.below(5) {
                0 if !self.in_subprog => self.copy(reg, 6),
                1 => self.frame(reg, -32),
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

    pub(super) fn ring(&mut self) {
        self.map(1, RINGBUF, op::PSEUDO_MAP_FD, 0);
        let room = self.pick(&[8, 16, 24, 64]);
        self.mov(2, room.into());
        self.mov(3, 0);
        self.call(131);
        let forget = self.flaw();
        self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| {
            w.copy(1, 0);
            let (size, bytes) = w.pick(&SIZES);
            let places = room / bytes + i16::from(w.flaw());
            let off = bytes * w.below(places as usize) as i16;
            w.touch(1, size, off, true);
            if !forget {
                w.mov(2, 0);
                let helper = w.pick(&[132, 133]);
                w.call(helper);
            }
        });
    }

    pub(super) fn lock(&mut self) {
        self.emit(op::ST | op::MEM | op::W, FP, 0, -4, 1);
        self.map(1, LOCKED, op::PSEUDO_MAP_FD, 0);
        self.frame(2, -4);
        self.call(1);
        self.unless(op::JMP | op::JEQ | op::K, 0, 0, 0, |w| {
            w.emit(op::STX | op::MEM | op::DW, FP, 0, POINTER, 0);
            w.copy(1, 0);
            let off = if w.flaw() { 0 } else { 4 };
            w.add(1, off);
            w.call(93);
            w.emit(op::LDX | op::MEM | op::DW, 1, FP, POINTER, 0);
            if w.one_in(4) {
                w.touch(1, op::W, 8, true);
            }
            w.add(1, 4);
            if !w.flaw() {
                w.call(94);
            }
        });
    }
}
