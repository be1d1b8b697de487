//! Slots to text, in LLVM's words (`llvm/lib/Target/BPF/BPFInstrInfo.td`; numbers as `llvm-objdump` 22 prints them).

use std::fmt;

use super::{Disasm, UNKNOWN, alu_sign, cond_sign, fetch_name, size_name};
use crate::asm::Insn;
use crate::asm::opcode as op;

/// What LLVM prints where it knows no instruction.
const NOT_KNOWN: &str = "<unknown>";

/// One instruction; its `Display` is LLVM's text, such as `r1 += 0x8`.
pub(in crate::asm) struct LlvmText(pub(in crate::asm) Disasm);

/// A number in LLVM's form: `0x8`, `-0x8`.
struct Number(i64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:#x}", if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs())
    }
}

/// A distance in LLVM's form: `+0x8`, `-0x8`.
struct Distance(i32);

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:#x}", if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs())
    }
}

/// A place in memory without its type: `r1 + 0x8`.
struct Place(u8, i16);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reg, off) = *self;
        write!(f, "r{reg} {} {:#x}", if off < 0 { '-' } else { '+' }, off.unsigned_abs())
    }
}

impl LlvmText {
    /// A call of a subprogram in this slot, by the slot that it calls: `call 5f`.
    pub(in crate::asm) fn local_call(&self, slot: usize) -> Option<String> {
        let insn = self.0.insn;
        if insn.code != op::JMP | op::CALL || insn.src != op::PSEUDO_CALL {
            return None;
        }
        let target = u64::try_from(slot as i64 + 1 + i64::from(insn.imm)).ok()?;
        Some(format!("call {target}{}", if insn.imm < 0 { 'b' } else { 'f' }))
    }

    fn alu(&self) -> Option<String> {
        let Insn { code, dst, src, off, imm } = self.0.insn;
        let wide = code & op::CLASS_MASK == op::ALU64;
        let reg = if wide { 'r' } else { 'w' };
        let (operation, by_register) = (code & op::OP_MASK, code & op::X == op::X);
        let variant = match (operation, off) {
            (_, 0) | (op::NEG | op::END, _) => "",
            (op::DIV | op::MOD, 1) => "",
            (op::MOV, 1) if by_register && wide => {
                let (to, from) = (imm as u32 >> 16, imm as u16);
                return Some(format!("r{dst} = addr_space_cast(r{src}, {to:#x}, {from:#x})"));
            }
            (op::MOV, 8) if by_register => "(s8)",
            (op::MOV, 16) if by_register => "(s16)",
            (op::MOV, 32) if by_register && wide => "(s32)",
            _ => return None,
        };
        match operation {
            op::END if !matches!(imm, 16 | 32 | 64) => None,
            op::END if wide => (!by_register).then(|| format!("r{dst} = bswap{imm} r{dst}")),
            op::END => Some(format!("r{dst} = {}{imm} r{dst}", if by_register { "be" } else { "le" })),
            op::NEG => (!by_register).then(|| format!("{reg}{dst} = -{reg}{dst}")),
            _ => {
                let sign = Some(alu_sign(operation, off == 1)).filter(|sign| *sign != UNKNOWN)?;
                Some(if by_register {
                    format!("{reg}{dst} {sign} {variant}{reg}{src}")
                } else {
                    format!("{reg}{dst} {sign} {}", Number(imm.into()))
                })
            }
        }
    }

    fn jump(&self) -> Option<String> {
        const GOTO: u8 = op::JMP | op::JA;
        const GOTOX: u8 = op::JMP | op::JA | op::X;
        const GOTOL: u8 = op::JMP32 | op::JA;
        const MAY_GOTO: u8 = op::JMP | op::JCOND;
        const CALL: u8 = op::JMP | op::CALL;
        const CALLX: u8 = op::JMP | op::CALL | op::X;
        const EXIT: u8 = op::JMP | op::EXIT;
        let Insn { code, dst, src, off, imm } = self.0.insn;
        Some(match code {
            GOTO => format!("goto {}", Distance(off.into())),
            GOTOX => format!("gotox r{dst}"),
            GOTOL => format!("gotol {}", Distance(imm)),
            MAY_GOTO => format!("may_goto {}", Distance(off.into())),
            CALL => format!("call {}", Number(imm.into())),
            CALLX => format!("callx r{dst}"),
            EXIT if imm == 0 => "exit".into(),
            _ => {
                let operation = code & op::OP_MASK;
                if matches!(operation, op::JA | op::CALL | op::EXIT) || cond_sign(operation) == UNKNOWN {
                    return None;
                }
                let reg = if code & op::CLASS_MASK == op::JMP32 { 'w' } else { 'r' };
                let (sign, distance) = (cond_sign(operation), Distance(off.into()));
                if code & op::X == op::X {
                    format!("if {reg}{dst} {sign} {reg}{src} goto {distance}")
                } else {
                    format!("if {reg}{dst} {sign} {} goto {distance}", Number(imm.into()))
                }
            }
        })
    }

    fn atomic(&self) -> Option<String> {
        let Insn { code, dst, src, off, imm } = self.0.insn;
        let size = size_name(code, 'u');
        let (reg, bits) = match code & op::SIZE_MASK {
            op::DW => ('r', "_64"),
            op::W => ('w', "32_32"),
            // Only loads and stores that order have smaller sizes.
            _ if matches!(imm, op::LOAD_ACQ | op::STORE_REL) => ('w', ""),
            _ => return None,
        };
        Some(match imm {
            op::XCHG => format!("{reg}{src} = xchg{bits}({}, {reg}{src})", Place(dst, off)),
            op::CMPXCHG => format!("{reg}0 = cmpxchg{bits}({}, {reg}0, {reg}{src})", Place(dst, off)),
            op::LOAD_ACQ => format!("{reg}{dst} = load_acquire(({size} *)({}))", Place(src, off)),
            op::STORE_REL => format!("store_release(({size} *)({}), {reg}{src})", Place(dst, off)),
            _ if !(0..=0xff).contains(&imm) || fetch_name(imm) == UNKNOWN => return None,
            _ if imm & op::FETCH == 0 => {
                format!("lock *({size} *)({}) {} {reg}{src}", Place(dst, off), alu_sign(imm as u8, false))
            }
            _ => {
                let name = fetch_name(imm);
                format!("{reg}{src} = atomic_fetch_{name}(({size} *)({}), {reg}{src})", Place(dst, off))
            }
        })
    }

    fn memory(&self) -> Option<String> {
        let Insn { code, dst, src, off, imm } = self.0.insn;
        let size = size_name(code, 'u');
        let reg = if code & op::SIZE_MASK == op::DW { 'r' } else { 'w' };
        Some(match (code & op::CLASS_MASK, code & op::MODE_MASK) {
            (op::STX, op::ATOMIC) => return self.atomic(),
            (op::STX, op::MEM) => format!("*({size} *)({}) = {reg}{src}", Place(dst, off)),
            (op::ST, op::MEM) => format!("*({size} *)({}) = {}", Place(dst, off), Number(imm.into())),
            (op::LDX, op::MEM) => format!("{reg}{dst} = *({size} *)({})", Place(src, off)),
            (op::LDX, op::MEMSX) if code & op::SIZE_MASK != op::DW => {
                format!("r{dst} = *({} *)({})", size_name(code, 's'), Place(src, off))
            }
            (op::LD, op::ABS | op::IND) if code & op::SIZE_MASK == op::DW => return None,
            (op::LD, op::ABS) => format!("r0 = *({size} *)skb[{}]", Number(imm.into())),
            (op::LD, op::IND) => format!("r0 = *({size} *)skb[r{src}]"),
            (op::LD, _) => {
                let second = self.0.second.filter(|_| off == 0)?;
                if src == 0 {
                    let number = u64::from(second.imm as u32) << 32 | u64::from(imm as u32);
                    format!("r{dst} = {} ll", Number(number as i64))
                } else {
                    format!("ld_pseudo\tr{dst}, {src:#x}, {imm:#x}")
                }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for LlvmText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0.insn.code & op::CLASS_MASK {
            op::ALU | op::ALU64 => self.alu(),
            op::JMP | op::JMP32 => self.jump(),
            _ => self.memory(),
        };
        f.write_str(text.as_deref().unwrap_or(NOT_KNOWN))
    }
}
