//! Slots to text, in the words of the kernel's verifier log (`print_bpf_insn()` in `kernel/bpf/disasm.c`).
//!
//! Where the kernel would print an address that only it knows, this prints what the instruction says: `map[fd:3]`,
//! `map[fd:3][0]+8`, `subprog[+5]` (as bpftool does), `map[idx:0]`, `btf[id:77]`.

use std::fmt;

use super::Insn;
use super::opcode as op;
use crate::uapi::helper::short_name;

mod llvm;
#[cfg(test)]
mod tests;

pub(super) use llvm::LlvmText;

/// One instruction; its `Display` is the kernel's text, such as `(07) r1 += 8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disasm {
    insn: Insn,
    /// The second slot of a 64-bit immediate load.
    second: Option<Insn>,
}

/// The instructions of a program, each with its slot. Any slots will do; nonsense reads `BUG_` as in the kernel's log.
pub fn disassemble(insns: &[Insn]) -> impl Iterator<Item = (usize, Disasm)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let slot = next;
        let disasm = Disasm::at(insns, slot)?;
        next += disasm.slots();
        Some((slot, disasm))
    })
}

impl Disasm {
    /// The instruction that starts at this slot.
    pub fn at(insns: &[Insn], slot: usize) -> Option<Self> {
        let insn = *insns.get(slot)?;
        let second = insns.get(slot + 1).copied().filter(|second| insn.is_wide() && second.code == 0);
        Some(Self { insn, second })
    }

    /// Number of slots: 2 for a 64-bit immediate load, else 1.
    pub fn slots(&self) -> usize {
        1 + usize::from(self.second.is_some())
    }

    /// Its slots.
    pub(super) fn insns(self) -> impl Iterator<Item = Insn> {
        std::iter::once(self.insn).chain(self.second)
    }

    /// Whether these are its slots.
    pub(super) fn is(&self, (insn, second): (Insn, Option<Insn>)) -> bool {
        (self.insn, self.second) == (insn, second)
    }

    /// The distance that the instruction may jump, call or point, counted from the next slot.
    pub fn distance(&self) -> Option<i32> {
        let Insn { code, off, imm, .. } = self.insn;
        match code & op::CLASS_MASK {
            op::JMP | op::JMP32 => match code & op::OP_MASK {
                op::CALL => self.subprogram(),
                op::EXIT => None,
                op::JA if code & op::CLASS_MASK == op::JMP32 => Some(imm),
                _ => Some(i32::from(off)),
            },
            _ => self.subprogram(),
        }
    }

    /// The distance to the subprogram that the instruction calls or points to, counted from the next slot.
    pub(super) fn subprogram(&self) -> Option<i32> {
        const CALL: u8 = op::JMP | op::CALL;
        let refers = self.insn.code == CALL && self.insn.src == op::PSEUDO_CALL
            || self.second.is_some() && self.insn.src == op::PSEUDO_FUNC;
        refers.then_some(self.insn.imm)
    }

    fn alu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = self.insn;
        let wide = code & op::CLASS_MASK == op::ALU64;
        let reg = if wide { 'r' } else { 'w' };
        let operation = code & op::OP_MASK;
        match operation {
            op::END if wide => write!(f, "r{dst} = bswap{imm} r{dst}"),
            op::END => write!(f, "r{dst} = {}{imm} r{dst}", if code & op::X == op::X { "be" } else { "le" }),
            op::NEG => write!(f, "{reg}{dst} = -{reg}{dst}"),
            // ALU64 | MOV | X with offset 1 casts between address spaces (6.9); with -1 it is the kernel's own per-CPU form.
            op::MOV if code == op::ALU64 | op::MOV | op::X && off == 1 => {
                write!(f, "r{dst} = addr_space_cast(r{src}, {}, {})", imm as u32 >> 16, imm as u16)
            }
            op::MOV if code == op::ALU64 | op::MOV | op::X && off == -1 => {
                write!(f, "r{dst} = &(void __percpu *)(r{src})")
            }
            _ => {
                write!(f, "{reg}{dst} {} ", alu_sign(operation, off == 1))?;
                if code & op::X != op::X {
                    return write!(f, "{imm}");
                }
                if operation == op::MOV && matches!(off, 8 | 16 | 32) {
                    write!(f, "(s{off})")?;
                }
                write!(f, "{reg}{src}")
            }
        }
    }

    fn jump(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = self.insn;
        const GOTO: u8 = op::JMP | op::JA;
        const GOTOL: u8 = op::JMP32 | op::JA;
        const MAY_GOTO: u8 = op::JMP | op::JCOND;
        const EXIT: u8 = op::JMP | op::EXIT;
        match code {
            _ if code & op::OP_MASK == op::CALL => self.call(f),
            GOTO => write!(f, "goto pc{off:+}"),
            GOTOL => write!(f, "gotol pc{imm:+}"),
            MAY_GOTO if src == 0 => write!(f, "may_goto pc{off:+}"),
            EXIT => f.write_str("exit"),
            _ => {
                let reg = if code & op::CLASS_MASK == op::JMP32 { 'w' } else { 'r' };
                write!(f, "if {reg}{dst} {} ", cond_sign(code & op::OP_MASK))?;
                if code & op::X == op::X {
                    write!(f, "{reg}{src}")?
                } else {
                    write!(f, "{imm:#x}")?
                }
                write!(f, " goto pc{off:+}")
            }
        }
    }

    fn call(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { src, imm, .. } = self.insn;
        match (src, short_name(imm)) {
            (op::PSEUDO_CALL, _) => write!(f, "call pc{imm:+}"),
            (op::PSEUDO_KFUNC_CALL, _) => write!(f, "call kernel-function#{imm}"),
            (0, Some(name)) => write!(f, "call bpf_{name}#{imm}"),
            _ => write!(f, "call unknown#{imm}"),
        }
    }

    fn atomic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = self.insn;
        let size = size_name(code, 'u');
        let bits = if code & op::SIZE_MASK == op::DW { "64" } else { "" };
        match imm {
            op::XCHG => write!(f, "r{src} = atomic{bits}_xchg(({size} *)(r{dst} {off:+}), r{src})"),
            op::CMPXCHG => write!(f, "r0 = atomic{bits}_cmpxchg(({size} *)(r{dst} {off:+}), r0, r{src})"),
            op::LOAD_ACQ => write!(f, "r{dst} = load_acquire(({size} *)(r{src} {off:+}))"),
            op::STORE_REL => write!(f, "store_release(({size} *)(r{dst} {off:+}), r{src})"),
            _ if imm & op::FETCH == 0 => {
                write!(f, "lock *({size} *)(r{dst} {off:+}) {} r{src}", alu_sign(imm as u8, false))
            }
            _ => {
                let name = fetch_name(imm);
                write!(f, "r{src} = atomic{bits}_fetch_{name}(({size} *)(r{dst} {off:+}), r{src})")
            }
        }
    }

    fn wide(&self, second: Insn, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { dst, src, imm, .. } = self.insn;
        write!(f, "r{dst} = ")?;
        match src {
            op::PSEUDO_MAP_FD => write!(f, "map[fd:{imm}]"),
            op::PSEUDO_MAP_VALUE => write!(f, "map[fd:{imm}][0]+{}", second.imm as u32),
            op::PSEUDO_BTF_ID => write!(f, "btf[id:{imm}]"),
            op::PSEUDO_FUNC => write!(f, "subprog[{imm:+}]"),
            op::PSEUDO_MAP_IDX => write!(f, "map[idx:{imm}]"),
            op::PSEUDO_MAP_IDX_VALUE => write!(f, "map[idx:{imm}][0]+{}", second.imm as u32),
            _ => write!(f, "{:#x}", u64::from(second.imm as u32) << 32 | u64::from(imm as u32)),
        }
    }

    /// What the kernel prints for an opcode that it does not know.
    fn bug(&self) -> Option<&'static str> {
        let Insn { code, imm, .. } = self.insn;
        let known_atomic = matches!(imm, op::XCHG | op::CMPXCHG | op::LOAD_ACQ | op::STORE_REL)
            || (0..=0xff).contains(&imm) && fetch_name(imm) != UNKNOWN;
        match (code & op::CLASS_MASK, code & op::MODE_MASK) {
            (op::LD, op::ABS | op::IND) => None,
            (op::LD, _) => self.second.is_none().then_some("BUG_ld"),
            (op::LDX, op::MEM) => None,
            // The kernel has no name for a sign-extending load of 8 bytes.
            (op::LDX, op::MEMSX) if code & op::SIZE_MASK != op::DW => None,
            (op::LDX, _) => Some("BUG_ldx"),
            (op::ST, op::MEM | op::ATOMIC) => None,
            (op::ST, _) => Some("BUG_st"),
            (op::STX, op::MEM) => None,
            (op::STX, op::ATOMIC) if known_atomic => None,
            (op::STX, _) => Some("BUG"),
            _ => None,
        }
    }
}

impl fmt::Display for Disasm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = self.insn;
        if let Some(bug) = self.bug() {
            return write!(f, "{bug}_{code:02x}");
        }
        write!(f, "({code:02x}) ")?;
        let size = size_name(code, 'u');
        match (code & op::CLASS_MASK, code & op::MODE_MASK) {
            (op::ALU | op::ALU64, _) => self.alu(f),
            (op::JMP | op::JMP32, _) => self.jump(f),
            (op::STX, op::ATOMIC) => self.atomic(f),
            (op::STX, _) => write!(f, "*({size} *)(r{dst} {off:+}) = r{src}"),
            // Class ST in this mode is the kernel's own speculation barrier.
            (op::ST, op::ATOMIC) => f.write_str("nospec"),
            (op::ST, _) => write!(f, "*({size} *)(r{dst} {off:+}) = {imm}"),
            (op::LDX, op::MEMSX) => write!(f, "r{dst} = *({} *)(r{src} {off:+})", size_name(code, 's')),
            (op::LDX, _) => write!(f, "r{dst} = *({size} *)(r{src} {off:+})"),
            (_, op::ABS) => write!(f, "r0 = *({size} *)skb[{imm}]"),
            (_, op::IND) => write!(f, "r0 = *({size} *)skb[r{src} + {imm}]"),
            _ => self.second.map_or(Ok(()), |second| self.wide(second, f)),
        }
    }
}

/// How the kernel prints an operation that has no sign.
const UNKNOWN: &str = "(null)";

/// The sign of an arithmetic operation; `signed` picks the signed division and modulo.
fn alu_sign(operation: u8, signed: bool) -> &'static str {
    match operation {
        op::ADD => "+=",
        op::SUB => "-=",
        op::MUL => "*=",
        op::DIV if signed => "s/=",
        op::DIV => "/=",
        op::OR => "|=",
        op::AND => "&=",
        op::LSH => "<<=",
        op::RSH => ">>=",
        op::MOD if signed => "s%=",
        op::MOD => "%=",
        op::XOR => "^=",
        op::MOV => "=",
        op::ARSH => "s>>=",
        _ => UNKNOWN,
    }
}

fn cond_sign(operation: u8) -> &'static str {
    match operation {
        // Only with class JMP and a register operand, which is not an instruction (yet).
        op::JA => "jmp",
        op::JEQ => "==",
        op::JGT => ">",
        op::JGE => ">=",
        op::JSET => "&",
        op::JNE => "!=",
        op::JSGT => "s>",
        op::JSGE => "s>=",
        op::EXIT => "exit",
        op::JLT => "<",
        op::JLE => "<=",
        op::JSLT => "s<",
        op::JSLE => "s<=",
        _ => UNKNOWN,
    }
}

/// The word for an atomic operation that fetches.
fn fetch_name(imm: i32) -> &'static str {
    match (imm & !op::FETCH) as u8 {
        op::ADD => "add",
        op::AND => "and",
        op::OR => "or",
        op::XOR => "xor",
        _ => UNKNOWN,
    }
}

/// `u8` to `u64`, or with the prefix `s` the signed names.
fn size_name(code: u8, prefix: char) -> &'static str {
    match (code & op::SIZE_MASK, prefix) {
        (op::B, 's') => "s8",
        (op::H, 's') => "s16",
        (_, 's') => "s32",
        (op::B, _) => "u8",
        (op::H, _) => "u16",
        (op::W, _) => "u32",
        _ => "u64",
    }
}
