//! The log of a verification, in the form of Linux 6.18's (log level 2).
//!
//! The kernel notes which registers and stack slots an instruction looks at or changes ("scratched"), and prints them behind
//! the instruction before it prints the next one. What it prints between the two moves the registers to a line of their own.

use crate::asm::{Disasm, disassemble};
use crate::verifier_sim::spec::Kernel;
use crate::verifier_sim::state::FP;
use crate::verifier_sim::stop::NOT_PROGRAMS;
use crate::verifier_sim::walk::describe::Shown;
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::loops::Loops;
use crate::verifier_sim::walk::stack_marks::StackMarks;

/// The text so far. It is bounded: the end of the log is what matters, so a full log forgets its first half.
#[derive(Debug, Default)]
pub(in crate::verifier_sim) struct Log {
    text: String,
    /// Characters that were forgotten.
    forgotten: usize,
    /// Where the text of the last instruction ended, and its length.
    insn_end: usize,
    insn_len: usize,
    /// A branch or a caller has just been taken up, from this instruction.
    branch: Option<usize>,
    /// What comes behind the broken rule.
    after_refusal: String,
    /// The kernel gives no reason for what it is about to refuse.
    no_rule: bool,
    pub(super) loops: Loops,
    pub(super) stack: StackMarks,
}

/// Characters that a log may have.
const MAX_LOG: usize = 16 << 20;
/// What an instruction changed begins in this column at least, and in a multiple of the other (`BPF_LOG_ALIGNMENT`,
/// `BPF_LOG_MIN_ALIGNMENT`).
const COLUMN: usize = 40;
const COLUMN_STEP: usize = 8;

impl Log {
    pub(super) fn push(&mut self, text: &str) {
        if self.text.len() + text.len() > MAX_LOG {
            let middle = self.text.len() / 2;
            let end = self.text.len();
            let cut =
                self.text.as_bytes()[middle..].iter().position(|byte| *byte == b'\n').map_or(end, |at| middle + at + 1);
            self.text.drain(..cut);
            self.forgotten += cut;
        }
        self.text.push_str(text);
    }

    fn end(&self) -> usize {
        self.forgotten + self.text.len()
    }

    /// The whole text.
    pub(in crate::verifier_sim) fn into_text(self) -> String {
        self.text
    }
}

impl Env<'_> {
    /// Adds one line.
    pub(in crate::verifier_sim) fn log_line(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            log.push(line);
            log.push("\n");
        }
    }

    /// The functions of the program.
    pub(in crate::verifier_sim) fn log_functions(&mut self) {
        if self.log.is_some() {
            let starts: Vec<_> = self.subprogs.iter().map(|subprog| subprog.start).collect();
            for (number, start) in starts.into_iter().enumerate() {
                self.log_line(&format!("func#{number} @{start}"));
            }
        }
    }

    /// Which registers each instruction may find read later, and to which loop it belongs. Linux has it since 6.16.
    pub(in crate::verifier_sim) fn log_liveness(&mut self) {
        if self.log.is_none() || self.kernel < Kernel::V6_18 {
            return;
        }
        let loops = Loops::find(self.insns);
        self.log_line("Live regs before insn:");
        for (at, insn) in disassemble(self.insns) {
            let number = loops.number(at);
            let number = if number == 0 { String::new() } else { number.to_string() };
            let live = self.aux[at].live;
            let regs: String = (0..FP as u32)
                .map(|reg| if live & 1 << reg != 0 { char::from_digit(reg, 10).unwrap_or('.') } else { '.' })
                .collect();
            self.log_line(&format!("{number:>3} {at:>3}: {regs} {insn}"));
        }
        let stack = StackMarks::new(self.insns, &self.subprogs);
        if let Some(log) = &mut self.log {
            (log.loops, log.stack) = (loops, stack);
        }
    }

    /// The current instruction is about to be walked.
    pub(in crate::verifier_sim) fn log_insn(&mut self) {
        let at = self.at;
        let Some(log) = &mut self.log else { return };
        if let Some(from) = log.branch.take() {
            let (state, how) = (self.describe_frame(&self.cur, self.cur.depth(), Shown::ALL, None), self.speculation());
            self.log_line(&format!("\nfrom {from} to {at}{how}:{state}"));
        }
        if self.is_scratched() {
            self.log_state();
        }
        let text = Disasm::at(self.insns, at).map(|insn| insn.to_string()).unwrap_or_default();
        let Some(log) = &mut self.log else { return };
        let start = log.end();
        log.push(&format!("{at}: {text}\n"));
        log.insn_end = log.end();
        log.insn_len = log.insn_end - start;
    }

    /// What the last instruction looked at or changed (`print_insn_state`).
    pub(in crate::verifier_sim) fn log_state(&mut self) {
        if self.log.is_none() {
            return;
        }
        let shown = Shown { regs: self.scratched_regs.take(), slots: std::mem::take(&mut self.scratched_slots) };
        let state = self.describe_frame(&self.cur, self.cur.depth(), shown, None);
        let at = self.at;
        let Some(log) = &mut self.log else { return };
        if log.insn_end == log.end() && log.insn_len > 0 {
            log.text.pop();
            let column = (log.insn_len + COLUMN_STEP / 2).max(COLUMN).next_multiple_of(COLUMN_STEP);
            let width = column - log.insn_len - 1;
            log.push(&format!("{:width$};{state}\n", ""));
        } else {
            log.push(&format!("{at}:{state}\n"));
        }
    }

    /// How the log calls a path that only a processor takes which speculates.
    fn speculation(&self) -> &'static str {
        if self.cur.speculative { " (speculative execution)" } else { "" }
    }

    fn is_scratched(&self) -> bool {
        self.scratched_regs.get() != 0 || self.scratched_slots != 0
    }

    /// Everything counts as looked at: another frame or another path begins.
    pub(in crate::verifier_sim) fn scratch_all(&mut self) {
        self.scratched_regs.set(u16::MAX);
        self.scratched_slots = u64::MAX;
    }

    /// The program breaks a rule.
    pub(in crate::verifier_sim) fn log_refusal(&mut self, rule: &str) {
        if let Some(log) = &mut self.log {
            let text = std::mem::take(&mut log.after_refusal);
            if !log.no_rule {
                log.push(rule);
                log.push(if rule == NOT_PROGRAMS { "" } else { "\n" });
            }
            log.push(&text);
        }
    }

    /// The kernel refuses the instruction without a word.
    pub(in crate::verifier_sim) fn log_no_rule(&mut self) {
        if let Some(log) = &mut self.log {
            log.no_rule = true;
        }
    }

    /// A path has come back to a state that it has had before: both, for the end of the log.
    pub(in crate::verifier_sim) fn log_endless(&mut self, number: u32) {
        if self.log.is_none() {
            return;
        }
        let depth = self.cur.depth();
        let cur = self.describe_frame(&self.cur, depth, Shown::ALL, None);
        let (old, precise) = self.explored.described(number);
        let old =
            old.map(|old| self.describe_frame(old, depth, Shown::ALL, precise.get(depth).copied())).unwrap_or_default();
        if let Some(log) = &mut self.log {
            log.after_refusal = format!("cur state:{cur}\nold state:{old}\n");
        }
    }

    /// The last line of the kernel's log.
    pub(in crate::verifier_sim) fn log_summary(&mut self) {
        if self.log.is_some() {
            let (total, peak, most) = self.explored.totals();
            let line = format!(
                "processed {} insns (limit 1000000) max_states_per_insn {most} total_states {total} peak_states {peak} mark_read 0",
                self.work.insns
            );
            self.log_line(&line);
        }
    }

    /// The current path is cut short.
    pub(in crate::verifier_sim) fn log_safe(&mut self) {
        let (at, how) = (self.at, self.speculation());
        if let Some(log) = &mut self.log {
            let line = match log.branch.take() {
                Some(from) => format!("\nfrom {from} to {at}{how}: safe\n"),
                None => format!("{at}: safe\n"),
            };
            log.push(&line);
        }
    }

    /// A function is entered: the registers of its caller and its own.
    pub(in crate::verifier_sim) fn log_call(&mut self) {
        self.scratch_all();
        if self.log.is_some() {
            let depth = self.cur.depth();
            let caller = self.describe_frame(&self.cur, depth - 1, Shown::ALL, None);
            let callee = self.describe_frame(&self.cur, depth, Shown::ALL, None);
            self.log_line(&format!("caller:\n{caller}\ncallee:\n{callee}"));
            self.stack_marks(StackMarks::forget_current);
        }
    }

    /// A function is left for slot `next`; `callee` are its registers as [`Self::log_callee`] described them.
    pub(in crate::verifier_sim) fn log_return(&mut self, callee: &str, next: usize) {
        if self.log.is_some() {
            let caller = self.describe_frame(&self.cur, self.cur.depth(), Shown::ALL, None);
            self.log_line(&format!("returning from callee:\n{callee}\nto caller at {next}:\n{caller}"));
            self.log_branch(self.at);
        }
    }

    /// The registers of the current function, which is about to be left.
    pub(in crate::verifier_sim) fn log_callee(&mut self) -> String {
        if self.log.is_none() {
            return String::new();
        }
        self.log_stack_update();
        self.describe_frame(&self.cur, self.cur.depth(), Shown::ALL, None)
    }

    /// Another branch is taken up, which was put aside at instruction `from`.
    pub(in crate::verifier_sim) fn log_branch(&mut self, from: usize) {
        if let Some(log) = &mut self.log {
            log.branch = Some(from);
        }
    }
}
