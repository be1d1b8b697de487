//! Idioms of numbers: arithmetic, branches, loops.

use super::{FP, Writer};
use sidestep::asm::opcode as op;

const ALU: [u8; 12] =
    [op::ADD, op::SUB, op::MUL, op::OR, op::AND, op::LSH, op::RSH, op::XOR, op::ARSH, op::DIV, op::MOD, op::MOV];
const JUMPS: [u8; 11] =
    [op::JEQ, op::JGT, op::JGE, op::JSET, op::JNE, op::JSGT, op::JSGE, op::JLT, op::JLE, op::JSLT, op::JSLE];

impl Writer<'_> {
    pub(super) fn arithmetic(&mut self) {
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
                    let off = if class == op::ALU { self.pick(&[0, 8, 16]) } else { self.pick(&[0, 8, 16, 32]) };
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

    pub(super) fn branch(&mut self, depth: usize) {
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

    pub(super) fn count_loop(&mut self, depth: usize) {
        let counter = self.scalar();
        let rounds = self.pick(&[2, 3, 4, 5, 8]);
        // What the loop does may overwrite its counter, so that mostly lives on the stack.
        let home = (!self.one_in(16)).then_some(-400 - 8 * depth as i16);
        self.mov(counter, 0);
        let head = self.insns.len();
        if let Some(home) = home {
            self.emit(op::STX | op::MEM | op::DW, FP, counter, home, 0);
        }
        if depth < 2 {
            self.idiom(3);
        }
        if let Some(home) = home {
            self.emit(op::LDX | op::MEM | op::DW, counter, FP, home, 0);
        }
        // Without a step the loop never ends, which takes the kernel a second to find out.
        let endless = self.one_in(400);
        self.add(counter, i32::from(!endless));
        let jump = self.pick(&[op::JLT, op::JLT, op::JNE, op::JSLT]);
        let back = head as i64 - self.insns.len() as i64 - 1;
        self.emit(op::JMP | jump | op::K, counter, 0, back as i16, rounds);
    }
}
