//! The fetch-and-execute loop.

use crate::asm::{Insn, opcode as op};
use crate::uapi::helper::id;

use super::fault::{Fault, Trap};
use super::helpers::{self, Args, Elsewhere, Environment};
use super::machine::Machine;
use super::{Program, alu, atomic};

/// Nested calls including the main program: `MAX_CALL_FRAMES` (include/linux/bpf_verifier.h).
const MAX_CALL_FRAMES: usize = 8;
/// Number of registers with the frame pointer.
const REGISTERS: usize = 11;
/// The frame pointer.
const FP: usize = 10;

/// How long a program may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions over all calls.
    pub instructions: u64,
    /// How many times the may_goto instructions of a run fall through before they jump out; the kernel's limit is
    /// `BPF_MAX_LOOPS`, 8 Mi (include/linux/bpf.h).
    pub may_goto: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instructions: 100_000_000, may_goto: 8 << 20 }
    }
}

/// A finished run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The program's return value.
    pub r0: u64,
    /// Instructions executed.
    pub instructions: u64,
}

/// What a function gets back when its callee returns.
struct Caller {
    /// The slot to go on at.
    pc: usize,
    /// r6 to r9.
    saved: [u64; 4],
    /// Which registers held something.
    written: u16,
    /// Which held a pointer made by a cast.
    cast: u16,
}

struct Cpu<'a> {
    program: &'a Program,
    machine: &'a mut Machine,
    environment: &'a mut dyn Environment,
    pc: usize,
    regs: [u64; REGISTERS],
    /// Bit n: rn was written.
    written: u16,
    /// Bit n: rn holds a pointer made by `bpf_rdonly_cast`, or found through one: loads through it yield 0 where there
    /// is not any memory (the kernel makes them `BPF_PROBE_MEM`, `convert_ctx_accesses` of kernel/bpf/verifier.c).
    cast: u16,
    callers: Vec<Caller>,
    may_goto_left: u32,
}

/// Where an instruction leads.
enum Next {
    /// To the slot after this one, plus this many.
    Skip(i64),
    /// Out of the program.
    Exit,
}

/// Runs `program` from slot 0 with the first `entry.len()` (at most 5) argument registers set.
///
/// # Errors
///
/// A [`Trap`] if the program does what no verified program may do, or runs longer than `limits`.
pub fn run(
    program: &Program,
    machine: &mut Machine,
    environment: &mut dyn Environment,
    entry: &[u64],
    limits: Limits,
) -> Result<Outcome, Trap> {
    let mut regs = [0; REGISTERS];
    let mut written = 1 << FP;
    for (number, &value) in entry.iter().take(5).enumerate() {
        regs[number + 1] = value;
        written |= 2 << number;
    }
    regs[FP] = machine.enter_frame(0);
    let mut cpu = Cpu {
        program,
        machine,
        environment,
        pc: 0,
        regs,
        written,
        cast: 0,
        callers: Vec::new(),
        may_goto_left: limits.may_goto,
    };
    let result = cpu.run(limits.instructions);
    for depth in 0..=cpu.callers.len() {
        cpu.machine.leave_frame(depth);
    }
    result
}

impl Cpu<'_> {
    fn run(&mut self, budget: u64) -> Result<Outcome, Trap> {
        let mut executed = 0;
        loop {
            let trap = |pc, fault| Trap { pc, fault };
            let Some(&insn) = self.program.insns.get(self.pc) else {
                return Err(trap(self.pc, Fault::OutsideProgram(self.pc as i64)));
            };
            if executed == budget {
                return Err(trap(self.pc, Fault::Budget(budget)));
            }
            executed += 1;
            match self.step(insn) {
                Ok(Next::Exit) => match self.callers.pop() {
                    None => {
                        let r0 = self.read(0).map_err(|fault| trap(self.pc, fault))?;
                        return Ok(Outcome { r0, instructions: executed });
                    }
                    Some(caller) => self.return_to(caller),
                },
                Ok(Next::Skip(distance)) => {
                    let target = self.pc as i64 + 1 + distance;
                    match usize::try_from(target) {
                        Ok(target) if target < self.program.insns.len() => self.pc = target,
                        _ => return Err(trap(self.pc, Fault::OutsideProgram(target))),
                    }
                }
                Err(fault) => return Err(trap(self.pc, fault)),
            }
        }
    }

    fn step(&mut self, insn: Insn) -> Result<Next, Fault> {
        match insn.code & op::CLASS_MASK {
            op::ALU | op::ALU64 => self.alu(insn),
            op::JMP | op::JMP32 => self.jump(insn),
            op::LD => self.load_immediate_or_packet(insn),
            op::LDX => self.load(insn),
            _ => self.store(insn),
        }
    }

    fn read(&self, register: u8) -> Result<u64, Fault> {
        match self.regs.get(usize::from(register)) {
            None => Err(Fault::BadRegister(register)),
            Some(_) if self.written & (1 << register) == 0 => Err(Fault::Uninitialized(register)),
            Some(&value) => Ok(value),
        }
    }

    fn write(&mut self, register: u8, value: u64) -> Result<(), Fault> {
        match register {
            0..=9 => {
                self.regs[usize::from(register)] = value;
                self.written |= 1 << register;
                self.cast &= !(1 << register);
                Ok(())
            }
            10 => Err(Fault::FramePointerWritten),
            _ => Err(Fault::BadRegister(register)),
        }
    }

    /// The second operand: the source register, or the immediate, sign-extended.
    fn operand(&self, insn: Insn) -> Result<u64, Fault> {
        if insn.code & op::X != 0 { self.read(insn.src) } else { Ok(i64::from(insn.imm) as u64) }
    }

    fn alu(&mut self, insn: Insn) -> Result<Next, Fault> {
        let operation = insn.code & op::OP_MASK;
        let wide = insn.code & op::CLASS_MASK == op::ALU64;
        if operation == op::END {
            let value = alu::byte_order(insn.code, insn.imm, self.read(insn.dst)?).ok_or_else(|| bad(insn))?;
            self.write(insn.dst, value)?;
            return Ok(Next::Skip(0));
        }
        // NEG has no second operand, MOV has no first, and only register moves extend the sign.
        let register = insn.code & op::X != 0;
        if (operation == op::NEG && register) || (operation == op::MOV && !register && insn.off != 0) {
            return Err(bad(insn));
        }
        let src = if operation == op::NEG { 0 } else { self.operand(insn)? };
        let dst = if operation == op::MOV { 0 } else { self.read(insn.dst)? };
        let value = if wide {
            alu::alu64(insn.code, insn.off, dst, src)
        } else {
            alu::alu32(insn.code, insn.off, dst as u32, src as u32).map(u64::from)
        };
        let cast = match operation {
            op::MOV => register && self.is_cast(insn.src),
            op::ADD | op::SUB => self.is_cast(insn.dst),
            _ => false,
        };
        self.write(insn.dst, value.ok_or_else(|| bad(insn))?)?;
        self.mark_cast(insn.dst, cast && wide);
        Ok(Next::Skip(0))
    }

    fn is_cast(&self, register: u8) -> bool {
        self.cast & (1 << register) != 0
    }

    fn mark_cast(&mut self, register: u8, cast: bool) {
        self.cast |= u16::from(cast) << register;
    }

    fn jump(&mut self, insn: Insn) -> Result<Next, Fault> {
        let wide = insn.code & op::CLASS_MASK == op::JMP;
        let register = insn.code & op::X != 0;
        match insn.code & op::OP_MASK {
            op::JA if register => Err(bad(insn)),
            op::JA if wide => Ok(Next::Skip(i64::from(insn.off))),
            op::JA => Ok(Next::Skip(i64::from(insn.imm))),
            op::CALL if wide && !register => self.call(insn),
            op::EXIT if wide && !register => Ok(Next::Exit),
            op::JCOND if wide && !register && insn.src == 0 => {
                if self.may_goto_left == 0 {
                    return Ok(Next::Skip(i64::from(insn.off)));
                }
                self.may_goto_left -= 1;
                Ok(Next::Skip(0))
            }
            op::CALL | op::EXIT => Err(bad(insn)),
            _ => {
                let (dst, src) = (self.read(insn.dst)?, self.operand(insn)?);
                let taken = alu::condition(insn.code, dst, src).ok_or_else(|| bad(insn))?;
                Ok(Next::Skip(if taken { i64::from(insn.off) } else { 0 }))
            }
        }
    }

    fn call(&mut self, insn: Insn) -> Result<Next, Fault> {
        match insn.src {
            op::PSEUDO_CALL => self.call_subprogram(insn),
            op::PSEUDO_KFUNC_CALL if self.environment.rdonly_cast() == Some(insn.imm) => {
                let address = self.machine.memory.kernel_address(self.read(1)?);
                self.read(2)?;
                self.forget_arguments();
                self.write(0, address)?;
                self.mark_cast(0, true);
                Ok(Next::Skip(0))
            }
            0 | op::PSEUDO_KFUNC_CALL => {
                let mut values = [0; 5];
                values.copy_from_slice(&self.regs[1..6]);
                let args = Args::new(insn.imm, values, self.written);
                if insn.src == 0 && insn.imm == id::TAIL_CALL {
                    return self.tail_call(insn, &args);
                }
                let result = if insn.src == op::PSEUDO_KFUNC_CALL {
                    self.environment.kfunc(self.machine, &args)?
                } else {
                    match helpers::plain(self.machine, self.environment, &args) {
                        Some(result) => result?,
                        None => self.environment.helper(self.machine, &args)?,
                    }
                };
                self.forget_arguments();
                self.write(0, result)?;
                Ok(Next::Skip(0))
            }
            _ => Err(bad(insn)),
        }
    }

    /// The other program takes this one's place; when there is none, this one goes on, and r0 holds nothing.
    fn tail_call(&mut self, insn: Insn, args: &Args) -> Result<Next, Fault> {
        if !self.callers.is_empty() {
            return Err(bad(insn));
        }
        if self.environment.tail_call(self.machine, args)? {
            self.write(0, 0)?;
            return Ok(Next::Exit);
        }
        self.forget_arguments();
        self.written &= !1;
        Ok(Next::Skip(0))
    }

    fn call_subprogram(&mut self, insn: Insn) -> Result<Next, Fault> {
        if self.callers.len() + 1 >= MAX_CALL_FRAMES {
            return Err(Fault::CallDepth);
        }
        let mut saved = [0; 4];
        saved.copy_from_slice(&self.regs[6..10]);
        self.callers.push(Caller { pc: self.pc + 1, saved, written: self.written, cast: self.cast });
        // The callee sees the arguments and nothing else.
        self.written &= 0b11_1110;
        self.written |= 1 << FP;
        self.regs[FP] = self.machine.enter_frame(self.callers.len());
        Ok(Next::Skip(i64::from(insn.imm)))
    }

    fn return_to(&mut self, caller: Caller) {
        let depth = self.callers.len();
        self.machine.leave_frame(depth + 1);
        self.pc = caller.pc;
        self.regs[6..10].copy_from_slice(&caller.saved);
        let result = self.written & 1;
        self.written = (caller.written & !1) | result;
        self.cast = caller.cast & !1;
        self.forget_arguments();
        self.regs[FP] = self.machine.frame_pointer(depth);
    }

    /// Calls destroy r1 to r5.
    fn forget_arguments(&mut self) {
        self.written &= !0b11_1110;
    }

    fn load_immediate_or_packet(&mut self, insn: Insn) -> Result<Next, Fault> {
        match insn.code & op::MODE_MASK {
            op::IMM if insn.code & op::SIZE_MASK == op::DW => {
                let high = self.program.insns.get(self.pc + 1).filter(|next| next.code == 0);
                let high = high.ok_or(Fault::OutsideProgram(self.pc as i64 + 1))?.imm;
                let value = self.wide_immediate(insn, high)?;
                self.write(insn.dst, value)?;
                Ok(Next::Skip(1))
            }
            op::ABS | op::IND => self.load_packet(insn),
            _ => Err(bad(insn)),
        }
    }

    fn wide_immediate(&mut self, insn: Insn, high: i32) -> Result<u64, Fault> {
        match insn.src {
            0 => Ok(u64::from(insn.imm as u32) | u64::from(high as u32) << 32),
            op::PSEUDO_MAP_FD | op::PSEUDO_MAP_IDX => {
                let number = self.map_of_slot(insn)?;
                self.machine.map_address(number).ok_or(Fault::NoSuchMap(insn.imm))
            }
            op::PSEUDO_MAP_VALUE | op::PSEUDO_MAP_IDX_VALUE => {
                let (number, offset) = (self.map_of_slot(insn)?, high as u32);
                let none = Fault::NoDirectValue { map: insn.imm, offset };
                let (map, memory) = self.machine.map_and_memory(number).ok_or(Fault::NoSuchMap(insn.imm))?;
                if !map.has_direct_value() || offset >= map.spec().value_size {
                    return Err(none);
                }
                let region = map.lookup(memory, &[0; 4], 0).ok_or(none)?;
                Ok(region.address() + u64::from(offset))
            }
            // Functions are only ever passed on to helpers that call back, and no such helper is run.
            op::PSEUDO_FUNC => Err(Fault::Callback),
            // Kernel variables need the kernel's BTF.
            _ => Err(bad(insn)),
        }
    }

    fn map_of_slot(&self, insn: Insn) -> Result<usize, Fault> {
        self.program.maps.get(self.pc).copied().flatten().ok_or(Fault::NoSuchMap(insn.imm))
    }

    /// Legacy packet loads: big-endian from the packet into r0; outside the packet the program returns 0
    /// (RFC 9669, section 5.5).
    fn load_packet(&mut self, insn: Insn) -> Result<Next, Fault> {
        let Some(size) = size_of(insn).filter(|size| *size < 8) else { return Err(bad(insn)) };
        self.read(6)?;
        let base = if insn.code & op::MODE_MASK == op::IND { self.read(insn.src)? as i32 } else { 0 };
        let start = usize::try_from(base.wrapping_add(insn.imm));
        let packet = self.environment.packet().ok_or_else(|| bad(insn))?;
        let found = start.ok().and_then(|start| packet.get(start..start.checked_add(size as usize)?));
        let value = found.map(|bytes| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)));
        self.forget_arguments();
        self.write(0, value.unwrap_or(0))?;
        if value.is_none() {
            // The whole program ends, not only the subprogram.
            while let Some(caller) = self.callers.pop() {
                self.return_to(caller);
            }
            return Ok(Next::Exit);
        }
        Ok(Next::Skip(0))
    }

    fn load(&mut self, insn: Insn) -> Result<Next, Fault> {
        let size = size_of(insn).ok_or_else(|| bad(insn))?;
        let address = self.read(insn.src)?.wrapping_add_signed(i64::from(insn.off));
        if self.is_cast(insn.src) && insn.code & op::MODE_MASK == op::MEM {
            let address = self.machine.memory.kernel_address(address);
            let value = match self.machine.memory.load(address, size) {
                Ok(value) => value,
                Err(_) => self.environment.elsewhere(Elsewhere::Load { address, size }).unwrap_or(Ok(0))?,
            };
            self.write(insn.dst, value)?;
            self.mark_cast(insn.dst, size == 8);
            return Ok(Next::Skip(0));
        }
        let value = match insn.code & op::MODE_MASK {
            op::MEM => match self.machine.memory.load(address, size) {
                Ok(value) => value,
                Err(fault) => self.elsewhere(Elsewhere::Load { address, size }, fault)?,
            },
            op::MEMSX if size < 8 => {
                let unused = 64 - 8 * size as u32;
                ((self.machine.memory.load(address, size)? << unused) as i64 >> unused) as u64
            }
            _ => return Err(bad(insn)),
        };
        self.write(insn.dst, value)?;
        Ok(Next::Skip(0))
    }

    fn store(&mut self, insn: Insn) -> Result<Next, Fault> {
        let size = size_of(insn).ok_or_else(|| bad(insn))?;
        let register = insn.code & op::CLASS_MASK == op::STX;
        match insn.code & op::MODE_MASK {
            op::MEM => {
                let value = if register { self.read(insn.src)? } else { i64::from(insn.imm) as u64 };
                let address = self.read(insn.dst)?.wrapping_add_signed(i64::from(insn.off));
                if let Err(fault) = self.machine.memory.store(address, size, value) {
                    self.elsewhere(Elsewhere::Store { address, size, value }, fault)?;
                }
            }
            op::ATOMIC if register => self.atomic(insn, size)?,
            _ => return Err(bad(insn)),
        }
        Ok(Next::Skip(0))
    }

    /// The answer to an access that failed with `fault`, where the environment has that memory.
    fn elsewhere(&mut self, access: Elsewhere, fault: Fault) -> Result<u64, Fault> {
        self.environment.elsewhere(access).unwrap_or(Err(fault))
    }

    fn atomic(&mut self, insn: Insn, size: u64) -> Result<(), Fault> {
        // A load-acquire only writes its destination; a compare-and-exchange also reads r0.
        let dst = if insn.imm == op::LOAD_ACQ { 0 } else { self.read(insn.dst)? };
        let src = self.read(insn.src)?;
        let r0 = if insn.imm == op::CMPXCHG { self.read(0)? } else { 0 };
        let written = match atomic::execute(&mut self.machine.memory, insn, size, dst, src, r0) {
            Ok(written) => {
                self.environment.atomic(insn.imm)?;
                written
            }
            Err(fault) => {
                let base = if insn.imm == op::LOAD_ACQ { src } else { dst };
                let address = base.wrapping_add_signed(i64::from(insn.off));
                let access = Elsewhere::Atomic { address, size, operation: insn.imm, operand: src };
                atomic::written(insn.imm, self.elsewhere(access, fault)?)
            }
        };
        match written {
            atomic::Written::None => Ok(()),
            atomic::Written::Source(value) => self.write(insn.src, value),
            atomic::Written::R0(value) => self.write(0, value),
            atomic::Written::Destination(value) => self.write(insn.dst, value),
        }
    }
}

/// Bytes of a load or store.
fn size_of(insn: Insn) -> Option<u64> {
    match insn.code & op::SIZE_MASK {
        op::B => Some(1),
        op::H => Some(2),
        op::W => Some(4),
        op::DW => Some(8),
        _ => None,
    }
}

fn bad(insn: Insn) -> Fault {
    Fault::BadInstruction { code: insn.code, src: insn.src, off: insn.off, imm: insn.imm }
}
