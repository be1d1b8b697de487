//! Contexts that are numbers and nothing else: `struct pt_regs`, `struct bpf_perf_event_data`, a trace point's record, the
//! arguments of a raw trace point (kernel/trace/bpf_trace.c, x86_64).

use super::narrow;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::spec::ProgType;

/// Bytes of `struct pt_regs` of x86_64.
const PT_REGS: u32 = 168;
/// Bytes of `struct bpf_perf_event_data`: the registers, the period, the address.
const PERF_EVENT: u32 = PT_REGS + 16;
/// Longest record of a trace point (`PERF_MAX_TRACE_SIZE`).
const TRACE: u32 = 8192;
/// Arguments of a raw trace point (`MAX_BPF_FUNC_ARGS`), 8 bytes each.
const ARGUMENTS: u32 = 12 * 8;

/// Whether `size` bytes at `off`, a multiple of `size`, may be read.
pub(super) fn readable(place: Place, off: u32, size: u32) -> bool {
    match place.prog {
        ProgType::KPROBE => off + size <= PT_REGS,
        // The first 8 bytes are the kernel's own.
        ProgType::TRACEPOINT => (8..TRACE).contains(&off),
        ProgType::RAW_TRACEPOINT => off < ARGUMENTS,
        ProgType::PERF_EVENT if off >= PT_REGS => off < PERF_EVENT && narrow(size, 8),
        _ => off < PT_REGS && size == 8,
    }
}
