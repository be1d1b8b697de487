//! Debug information of a program: BTF, function and line records, so that the kernel's verifier log (and `bpftool prog
//! dump`) shows the Rust line that emitted each instruction.
//!
//! ```text
//! ; src/dataplane/gate.rs:41: only IPv4 @ gate.rs:41
//! 2: (55) if r2 != 0x2 goto pc+1
//! ```
//! The part from `@` on is added by Linux 6.8 and later. BTF, both records and their checks are older than Linux 5.10.

mod lines;

use std::collections::BTreeSet;

use byteorder::ByteOrder;

use super::{Program, disassemble};
use crate::btf::{BtfBuilder, Linkage};

/// What bpf(2) takes beside a program's instructions. All in the byte order that it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugInfo {
    /// For `BPF_BTF_LOAD`; the descriptor goes into `prog_btf_fd`.
    pub btf: Vec<u8>,
    /// `struct bpf_func_info` records of [`FUNC_INFO_SIZE`](crate::uapi::debug_info::FUNC_INFO_SIZE) bytes.
    pub func_info: Vec<u8>,
    /// `struct bpf_line_info` records of [`LINE_INFO_SIZE`](crate::uapi::debug_info::LINE_INFO_SIZE) bytes.
    pub line_info: Vec<u8>,
}

impl Program {
    /// Debug information under this function name, or `None` if no slot has an origin.
    pub fn debug_info<B: ByteOrder>(&self, name: &str) -> Option<DebugInfo> {
        (0..self.insns.len()).find(|slot| self.origin(*slot).is_some())?;
        let functions = functions(self);
        let mut btf = BtfBuilder::<B>::new();
        // int (void *ctx)
        let int = btf.int("int", 4, true);
        let context = btf.pointer(0);
        let proto = btf.func_proto(int, &[("ctx", context)]);
        let mut func_info = Vec::new();
        for start in &functions {
            let name = if *start == 0 { name } else { self.label_at(*start).unwrap_or("subprogram") };
            // Static: the verifier checks a global one for any argument.
            let function = btf.func(&identifier(name), proto, Linkage::Static);
            for word in [*start as u32, function] {
                push::<B>(&mut func_info, word);
            }
        }
        let line_info = lines::records::<B>(self, &functions, &mut btf);
        Some(DebugInfo { btf: btf.finish(), func_info, line_info })
    }
}

/// Appends a word in the byte order `B`.
fn push<B: ByteOrder>(out: &mut Vec<u8>, word: u32) {
    let mut bytes = [0; 4];
    B::write_u32(&mut bytes, word);
    out.extend(bytes);
}

/// The first slots of the program and of all its subprograms, ascending.
fn functions(program: &Program) -> BTreeSet<usize> {
    let mut starts = BTreeSet::from([0]);
    let mut firsts = BTreeSet::new();
    for (slot, disasm) in disassemble(program.insns()) {
        firsts.insert(slot);
        if let Some(distance) = disasm.subprogram() {
            let start = slot as i64 + 1 + i64::from(distance);
            starts.extend(usize::try_from(start));
        }
    }
    // A call into nowhere is for the verifier to refuse; a record about it would hide that message behind its own.
    starts.retain(|start| firsts.contains(start));
    starts
}

/// A C identifier like this name: the kernel takes nothing else, and at most 127 characters (`KSYM_NAME_LEN`).
fn identifier(name: &str) -> String {
    let kept = name.chars().take(127).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let identifier: String = kept.collect();
    match identifier.as_bytes().first() {
        Some(first) if !first.is_ascii_digit() => identifier,
        _ => format!("_{}", identifier.get(1..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
