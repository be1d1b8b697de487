//! Line records: `struct bpf_line_info` is the slot, file name, text of the line, and line << 10 | column.

use std::collections::BTreeSet;

use byteorder::ByteOrder;

use super::push;
use crate::asm::{Program, disassemble};
use crate::btf::BtfBuilder;

/// `BPF_LINE_INFO_LINE_NUM` and `BPF_LINE_INFO_LINE_COL` of `include/uapi/linux/bpf.h`: 22 and 10 bits.
const MAX_LINE: u32 = (1 << 22) - 1;
const MAX_COLUMN: u32 = (1 << 10) - 1;

/// One record wherever the origin changes or a comment stands, and at the start of every function, as the kernel demands.
///
/// The source text is not at hand, so the record's text is the place itself and the comment: kernels before 6.8 print
/// nothing else of it.
pub(super) fn records<B: ByteOrder>(
    program: &Program,
    functions: &BTreeSet<usize>,
    btf: &mut BtfBuilder<B>,
) -> Vec<u8> {
    let mut records = Vec::new();
    let mut before = None;
    for (slot, _) in disassemble(program.insns()) {
        let origin = program.origin(slot);
        let comment = program.comment(slot);
        if before == Some(origin) && comment.is_none() && !functions.contains(&slot) {
            continue;
        }
        before = Some(origin);
        let (file, line, column) = origin.map_or(("unknown", 0, 0), |at| (at.file(), at.line(), at.column()));
        let text = match comment {
            Some(comment) => format!("{file}:{line}: {}", comment.replace('\n', "; ")),
            None => format!("{file}:{line}"),
        };
        let place = line.min(MAX_LINE) << 10 | column.min(MAX_COLUMN);
        for word in [slot as u32, btf.string(file), btf.string(&text), place] {
            push::<B>(&mut records, word);
        }
    }
    records
}
