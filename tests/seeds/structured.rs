//! Any nesting of the structured forms, emitters and frames: the assembler never panics, what it accepts has checks whose
//! slots are in the program and can be dropped, and what it refuses names a place.

use arbitrary::{Arbitrary, Unstructured};
use sidestep::asm::{Asm, Features, Helper, Insn, Label, Reg, Regs, Slot, Test, Uses};

#[derive(Arbitrary, Debug)]
enum Node {
    Move(u8, i32),
    Copy(u8, u8),
    Call(u8),
    Fill(u16),
    Block(Vec<Node>),
    Leave(Ask),
    If(Ask, Vec<Node>),
    IfElse(Ask, Vec<Node>, Vec<Node>),
    Require(Ask),
    Permit(Ask),
    Guard(Ask, Vec<Node>),
    Emitter([u16; 3], Vec<Node>),
    Idiom([u16; 3], Vec<Node>),
    Frame(Vec<Node>),
    Slot(bool),
    Touch(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Ask(u8, u8, i32, bool);

impl Ask {
    fn test(self) -> Test {
        let Self(kind, number, value, wide) = self;
        let reg = reg(number);
        let test = match (kind % 4, wide) {
            (0, true) => reg.equals(value),
            (0, false) => reg.w().signed_below(value),
            (1, true) => reg.any_of(value),
            (1, false) => reg.w().any_of(value),
            (2, true) => reg.none_of(value),
            (2, false) => reg.w().none_of(value),
            (_, true) => reg.above(value),
            (_, false) => reg.w().at_most(value),
        };
        if kind & 4 == 0 { test } else { test.inverted() }
    }
}

fn reg(number: u8) -> Reg {
    Reg::ALL[usize::from(number) % Reg::ALL.len()]
}

fn regs(bits: u16) -> Regs {
    Reg::ALL.into_iter().filter(|reg| bits & 1 << reg.number() != 0).fold(Regs::NONE, |set, reg| set | reg.into())
}

fn uses([reads, writes, gives]: [u16; 3]) -> Uses {
    Uses::nothing().reads(regs(reads)).writes(regs(writes)).gives(regs(gives))
}

struct Places {
    out: Label,
    block: Label,
    words: Vec<Slot<u64>>,
    heads: Vec<Slot<[u64; 3]>>,
    filled: u32,
}

impl Places {
    fn emit(&mut self, a: &mut Asm, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Move(dst, value) => a.mov(reg(*dst), *value),
                Node::Copy(dst, src) => a.mov(reg(*dst), reg(*src)),
                Node::Call(count) => a.call(Helper::new(1, *count)),
                Node::Fill(count) => {
                    // A little more than what one jump reaches, so that some are relaxed or go by islands.
                    for _ in 0..u32::from(*count).min(70_000_u32.saturating_sub(self.filled)) {
                        a.mov(Reg::R0, 0);
                        self.filled += 1;
                    }
                }
                Node::Block(body) => a.block("block", |a, end| {
                    let outer = std::mem::replace(&mut self.block, end);
                    self.emit(a, body);
                    self.block = outer;
                }),
                Node::Leave(ask) => a.jump_if(ask.test(), self.block),
                Node::If(ask, body) => a.if_(ask.test(), |a| self.emit(a, body)),
                Node::IfElse(ask, then, other) => {
                    // Both bodies need what one of them borrows, so the second is a block of its own.
                    a.if_else(ask.test(), |a| self.emit(a, then), |a| a.mov(Reg::R0, 1));
                    self.emit(a, other);
                }
                Node::Require(ask) => a.require(ask.test(), self.out, "required"),
                Node::Permit(ask) => a.permit(ask.test(), self.out, "permitted"),
                Node::Guard(ask, body) => a.guard(ask.test(), "guarded", |a| self.emit(a, body)),
                Node::Emitter(sets, body) => a.emitter("emitter", uses(*sets), |a| self.emit(a, body)),
                Node::Idiom(sets, body) => a.idiom("idiom", uses(*sets), |a| self.emit(a, body)),
                Node::Frame(body) => a.frame(|a| self.emit(a, body)),
                Node::Slot(true) => self.words.push(a.slot("word")),
                Node::Slot(false) => self.heads.push(a.slot("head")),
                Node::Touch(number) => {
                    let number = usize::from(*number);
                    if let Some(slot) = self.words.get(number) {
                        a.set(*slot, 1);
                    }
                    if let Some(slot) = self.heads.get(number) {
                        a.addr(Reg::R2, *slot);
                    }
                }
            }
        }
    }
}

/// Checks one input.
pub(crate) fn check(bytes: &[u8]) {
    // Bytes that make no input say nothing.
    let Ok(input) = <(bool, Vec<Node>)>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let (modern, nodes) = input;
    let mut a = Asm::with_features(if modern { Features::all() } else { Features::LINUX_5_10 });
    let out = a.label("out");
    Places { out, block: out, words: Vec::new(), heads: Vec::new(), filled: 0 }.emit(&mut a, &nodes);
    a.bind(out);
    a.exit();
    match a.finish() {
        Ok(program) => {
            for check in program.checks() {
                assert!(!check.slots.is_empty());
                let without = program.without(check);
                let changed =
                    without.insns().iter().zip(program.insns()).enumerate().filter(|(_, (now, old))| now != old);
                for (slot, (now, _)) in changed {
                    assert!(check.slots.contains(&slot));
                    assert_eq!(now.code, Insn::NOP.code);
                }
            }
        }
        Err(error) => assert!(error.to_string().contains(".rs:"), "{error}"),
    }
}
