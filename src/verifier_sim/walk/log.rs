//! The log of a verification, in the form of the kernel's (log level 2).

use std::fmt::Write as _;

use crate::asm::Disasm;
use crate::verifier_sim::state::Frame;
use crate::verifier_sim::state::reg::{ADD_CONST, Kind, Reg, object_from_number};
use crate::verifier_sim::state::stack::{Byte, Slot};
use crate::verifier_sim::walk::env::Env;

/// The text so far. It is bounded: the end of the log is what matters, so a full log forgets its first half.
#[derive(Debug, Default)]
pub(in crate::verifier_sim) struct Log {
    text: String,
    /// The instruction that is being walked, with the frame before it and that frame's number.
    pending: Option<(String, Frame, usize)>,
    /// The branch that has just been taken up: from where to where.
    branch: Option<(usize, usize)>,
}

/// Characters that a log may have.
const MAX_LOG: usize = 16 << 20;

impl Log {
    /// Adds one line.
    pub(in crate::verifier_sim) fn line(&mut self, line: &str) {
        if self.text.len() + line.len() > MAX_LOG {
            let middle = self.text.len() / 2;
            let cut = self.text[middle..].find('\n').map_or(self.text.len(), |at| middle + at + 1);
            self.text.drain(..cut);
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The whole text.
    pub(in crate::verifier_sim) fn into_text(self) -> String {
        self.text
    }
}

impl Env<'_> {
    /// The current instruction is about to be walked.
    pub(in crate::verifier_sim) fn log_insn(&mut self) {
        let Some(log) = &mut self.log else { return };
        if let Some((from, to)) = log.branch.take() {
            let line = format!("\nfrom {from} to {to}:{}", self.describe_frame(|_, _| true, |_, _| true));
            self.log_line(&line);
        }
        let text = Disasm::at(self.insns, self.at).map(|insn| insn.to_string()).unwrap_or_default();
        let line = format!("{}: {text}", self.at);
        let before = self.cur.top().clone();
        if let Some(log) = &mut self.log {
            log.pending = Some((line, before, self.cur.depth()));
        }
    }

    /// The instruction was walked: its text with the registers and slots that it changed.
    pub(in crate::verifier_sim) fn log_state(&mut self) {
        let Some((line, before, depth)) = self.log.as_mut().and_then(|log| log.pending.take()) else { return };
        let changed = match self.cur.depth() == depth {
            true => self.describe_frame(|reg, now| before.regs[reg] != *now, |slot, now| before.slot(slot) != now),
            false => self.describe_frame(|_, _| true, |_, _| true),
        };
        let line = match (changed.is_empty(), line.ends_with(':')) {
            (true, _) => line,
            // The instruction itself stands further up.
            (false, true) => format!("{line}{changed}"),
            (false, false) => format!("{line:<37} ;{changed}"),
        };
        self.log_line(&line);
    }

    /// The instruction broke a rule: its text stands alone.
    pub(in crate::verifier_sim) fn log_refusal(&mut self, rule: &str) {
        if let Some((line, _, _)) = self.log.as_mut().and_then(|log| log.pending.take()) {
            self.log_line(&line);
        }
        self.log_line(rule);
    }

    /// The last line of the kernel's log.
    pub(in crate::verifier_sim) fn log_summary(&mut self) {
        if self.log.is_some() {
            let kept = self.explored.kept();
            let line = format!("processed {} insns (limit 1000000) total_states {kept}", self.work.insns);
            self.log_line(&line);
        }
    }

    /// The current path is cut short.
    pub(in crate::verifier_sim) fn log_safe(&mut self) {
        if let Some(log) = &mut self.log {
            let line = match log.branch.take() {
                Some((from, to)) => format!("\nfrom {from} to {to}: safe"),
                None => format!("{}: safe", self.at),
            };
            log.line(&line);
        }
    }

    /// Another branch is taken up.
    pub(in crate::verifier_sim) fn log_branch(&mut self, from: usize, to: usize) {
        if let Some(log) = &mut self.log {
            log.branch = Some((from, to));
        }
    }

    /// A line that comes between the instruction and its outcome.
    pub(in crate::verifier_sim) fn log_remark(&mut self, line: &str) {
        let at = self.at;
        if let Some(log) = &mut self.log {
            if let Some((insn, before, depth)) = log.pending.take() {
                if !insn.ends_with(':') {
                    log.line(&insn);
                }
                log.pending = Some((format!("{at}:"), before, depth));
            }
            log.line(line);
        }
    }

    fn log_line(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            log.line(line);
        }
    }

    /// The initialised registers and stack slots of the current frame that are `wanted`.
    fn describe_frame(
        &self,
        wanted_reg: impl Fn(usize, &Reg) -> bool,
        wanted_slot: impl Fn(usize, &Slot) -> bool,
    ) -> String {
        let frame = self.cur.top();
        let mut text = String::new();
        if self.cur.depth() > 0 {
            let _ = write!(text, " frame{}:", self.cur.depth());
        }
        for (number, reg) in frame.regs.iter().enumerate() {
            if reg.kind != Kind::NotInit && wanted_reg(number, reg) {
                let _ = write!(text, " R{number}={}", self.describe(reg));
            }
        }
        for (index, slot) in frame.stack.iter().enumerate() {
            if slot.bytes.iter().all(|byte| *byte == Byte::Invalid) || !wanted_slot(index, slot) {
                continue;
            }
            let off = (index as i64 + 1) * -8;
            let _ = write!(text, " fp{off}=");
            if slot.is_spill() && slot.bytes[0] == Byte::Spill {
                text.push_str(&self.describe(&slot.reg));
            } else {
                text.extend(slot.bytes.iter().rev().map(|byte| match byte {
                    Byte::Invalid => '?',
                    Byte::Spill => 'r',
                    Byte::Misc => 'm',
                    Byte::Zero => '0',
                    Byte::Dynptr => 'd',
                }));
            }
        }
        text
    }

    /// A register as the kernel's log prints it (`print_reg_state`).
    pub(in crate::verifier_sim) fn describe(&self, reg: &Reg) -> String {
        let val = &reg.val;
        if reg.is_scalar() && val.bits.is_known() {
            return format!("{}", val.bits.value as i64);
        }
        if reg.kind == Kind::Stack && val.bits.is_known() {
            let frame = reg.arg as usize;
            let prefix = if frame == self.cur.depth() { String::new() } else { format!("[{frame}]") };
            return format!("fp{prefix}{}", i64::from(reg.off) + val.bits.value as i64);
        }
        let mut parts: Vec<String> = Vec::new();
        if reg.id != 0 {
            let plus = if reg.id & ADD_CONST != 0 { format!("{:+}", reg.off) } else { String::new() };
            parts.push(format!("id={}{plus}", reg.id & !ADD_CONST));
        }
        if reg.ref_id != 0 {
            parts.push(format!("ref_obj_id={}", reg.ref_id));
        }
        match reg.kind {
            Kind::ConstMapPtr | Kind::MapValue => {
                let map = self.map(reg.arg).spec;
                parts.push(format!("map={},ks={},vs={}", reg.arg, map.key_size, map.value_size));
            }
            Kind::Packet => {}
            Kind::Mem => parts.push(format!("sz={}", reg.arg)),
            _ => {}
        }
        if !reg.is_scalar() && reg.off != 0 {
            parts.push(format!("off={}", reg.off));
        }
        if reg.kind == Kind::Packet {
            parts.push(format!("r={}", reg.range()));
        }
        if reg.is_scalar() || !val.bits.is_known() {
            describe_ranges(val, &mut parts);
        } else if val.bits.value != 0 {
            parts.push(format!("imm={:#x}", val.bits.value));
        }
        let name = match (reg.kind, object_from_number(reg.arg)) {
            (Kind::BtfId, Some(kind)) => format!("{}{}", reg.type_name(), kind.name()),
            _ => reg.type_name(),
        };
        format!("{name}({})", parts.join(","))
    }
}

fn describe_ranges(val: &crate::verifier_sim::numbers::bounds::Bounds, parts: &mut Vec<String>) {
    let ranges: [(&str, bool, String); 8] = [
        ("smin", val.smin != i64::MIN && val.smin as u64 != val.umin, val.smin.to_string()),
        ("smax", val.smax != i64::MAX && val.smax as u64 != val.umax, val.smax.to_string()),
        ("umin", val.umin != 0, val.umin.to_string()),
        ("umax", val.umax != u64::MAX, val.umax.to_string()),
        ("smin32", i64::from(val.smin32) != val.smin && val.smin32 != i32::MIN, val.smin32.to_string()),
        ("smax32", i64::from(val.smax32) != val.smax && val.smax32 != i32::MAX, val.smax32.to_string()),
        ("umin32", u64::from(val.umin32) != val.umin && val.umin32 != 0, val.umin32.to_string()),
        ("umax32", u64::from(val.umax32) != val.umax && val.umax32 != u32::MAX, val.umax32.to_string()),
    ];
    parts.extend(ranges.into_iter().filter(|(_, shown, _)| *shown).map(|(name, _, value)| format!("{name}={value}")));
    if val.bits != crate::verifier_sim::numbers::tnum::Tnum::UNKNOWN {
        parts.push(format!("var_off={}", val.bits));
    }
}
