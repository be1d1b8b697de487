//! The program before it is walked: opcodes, encodings, maps, subprograms, control flow (`bpf_check` up to `do_check`).

pub(super) mod functions;
pub(super) mod hook;
pub(super) mod liveness;
pub(super) mod maps;
pub(super) mod record;
pub(super) mod stack_liveness;
pub(super) mod variable;

use std::collections::BTreeSet;

use crate::asm::Insn;
use crate::asm::opcode as op;
use crate::verifier_sim::place::Place;
use crate::verifier_sim::program::maps::Map;
use crate::verifier_sim::program::record::FieldKind;
use crate::verifier_sim::spec::{Kernel, MapType, ProgType};
use crate::verifier_sim::state::reg::{Flags, Kind};
use crate::verifier_sim::stop::{Step, Stop, reject, unsupported};
use crate::verifier_sim::types::KernelTypes;

/// The kinds of access that the kernel translates differently: one instruction can only be of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum AccessKind {
    /// Loads and stores as they stand.
    Plain,
    /// The same through a pointer to memory, which may also become a fault-safe load.
    Memory,
    /// The context or one of the socket types.
    Translated(Kind),
    /// A structure of the kernel or an allocated object. For loads one that is safe serves all, valid or not; stores must be to
    /// the same kind.
    Kernel(Flags),
}

/// How the kernel masks a register that is added to a pointer; every path must agree on it (`alu_state`, `alu_limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Masking {
    /// Two numbers are added.
    Numbers,
    /// A number and a pointer.
    Pointer {
        /// The number is negative.
        negative: bool,
        /// The pointer is in the destination.
        first: bool,
        /// How far the pointer is from the end towards which it moves.
        limit: u32,
    },
}

/// What is known of one instruction slot beside its encoding.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::verifier_sim) struct Aux {
    /// Number of the map that this 64-bit load loads.
    pub(in crate::verifier_sim) map: Option<u32>,
    /// Paths are compared with earlier ones before this instruction.
    pub(in crate::verifier_sim) prune_point: bool,
    /// The kernel's history of a path has an entry for this instruction.
    pub(in crate::verifier_sim) jump_point: bool,
    /// A checkpoint is always made here.
    pub(in crate::verifier_sim) force_checkpoint: bool,
    /// It calls a helper or a kernel function that calls a function of the program, as often as it likes
    /// (`is_sync_callback_calling_insn`).
    pub(in crate::verifier_sim) calls_back: bool,
    /// It is `bpf_rbtree_add`, which has the elements of a tree compared.
    pub(in crate::verifier_sim) compares: bool,
    /// It has a function of the program called later (`is_async_callback_calling_insn`).
    pub(in crate::verifier_sim) calls_later: bool,
    /// It calls a kernel function that moves an iterator on.
    pub(in crate::verifier_sim) moves_iterator: bool,
    /// The argument registers that this call of a kernel function reads, as bits; 0 for other instructions.
    pub(in crate::verifier_sim) kfunc_reads: u16,
    /// Registers that may be read before they are written again, as bits.
    pub(in crate::verifier_sim) live: u16,
    /// Kind of the pointer through which this instruction accesses memory, once seen.
    pub(in crate::verifier_sim) access: Option<AccessKind>,
    /// How the kernel masks what is added to a pointer here, without CAP_PERFMON.
    pub(in crate::verifier_sim) masking: Option<Masking>,
    /// Where the processor must not speculate: before the instruction, and behind it.
    pub(in crate::verifier_sim) barrier_before: bool,
    pub(in crate::verifier_sim) barrier_behind: bool,
    /// Whether some path reached it.
    pub(in crate::verifier_sim) seen: bool,
}

/// One function of the program.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::verifier_sim) struct Subprog {
    /// Its first slot.
    pub(in crate::verifier_sim) start: usize,
    /// Bytes of stack that it uses.
    pub(in crate::verifier_sim) stack_depth: u32,
    /// Whether it calls `bpf_tail_call`.
    pub(in crate::verifier_sim) has_tail_call: bool,
    /// Whether the kernel calls it later (`is_async_cb`), as far as the walk has come.
    pub(in crate::verifier_sim) is_async: bool,
    /// Whether BTF says that it is global.
    pub(in crate::verifier_sim) global: bool,
}

/// More maps than this in one program are refused (`MAX_USED_MAPS`).
const MAX_USED_MAPS: usize = 64;
/// More functions than this in one program are refused (`BPF_MAX_SUBPROGS`).
const MAX_SUBPROGS: usize = 256;
/// More different functions of the kernel in one program are refused (`MAX_KFUNC_DESCS`).
const MAX_KFUNCS: usize = 256;
/// Lower numbers are never functions or variables in a kernel's BTF: numbers, pointers and structures come first there.
const FIRST_KFUNC: i32 = 1000;
/// `bpf_for_each_map_elem`, `bpf_find_vma`, `bpf_loop` and `bpf_user_ringbuf_drain`, which call functions of the program.
const CALLS_BACK: [i32; 4] = [164, 180, 181, 209];
/// `bpf_timer_set_callback`.
const TIMER_SET_CALLBACK: i32 = 170;
/// `bpf_tail_call`.
const TAIL_CALL: i32 = 12;

/// Whether the slot is the first of a 64-bit immediate load.
pub(in crate::verifier_sim) fn is_load_imm64(insn: &Insn) -> bool {
    insn.code == op::LD | op::IMM | op::DW
}

/// Whether the slot calls a subprogram.
pub(in crate::verifier_sim) fn is_subprog_call(insn: &Insn) -> bool {
    insn.code == op::JMP | op::CALL && insn.src == op::PSEUDO_CALL
}

/// Whether the slot loads the address of a subprogram.
pub(in crate::verifier_sim) fn is_subprog_address(insn: &Insn) -> bool {
    is_load_imm64(insn) && insn.src == op::PSEUDO_FUNC
}

/// Whether the slot is a may_goto.
pub(in crate::verifier_sim) fn is_may_goto(insn: &Insn) -> bool {
    insn.code == op::JMP | op::JCOND && insn.src == 0
}

/// Notes the calls of helpers that call functions of the program.
pub(in crate::verifier_sim) fn describe_helper_calls(insns: &[Insn], aux: &mut [Aux]) {
    let calls = insns.iter().zip(aux).filter(|(insn, _)| insn.code == op::JMP | op::CALL && insn.src == 0);
    for (insn, aux) in calls {
        aux.calls_back = CALLS_BACK.contains(&insn.imm);
        aux.calls_later = insn.imm == TIMER_SET_CALLBACK;
    }
}

/// The slot that a jump at `at` goes to.
pub(in crate::verifier_sim) fn jump_target(at: usize, insn: &Insn) -> i64 {
    let distance = if insn.code == op::JMP32 | op::JA { i64::from(insn.imm) } else { i64::from(insn.off) };
    at as i64 + distance + 1
}

/// The functions, in order of their start, from the calls to them (`add_subprog_and_kfunc`).
pub(in crate::verifier_sim) fn find_subprogs(
    insns: &[Insn],
    kernel: Kernel,
    types: Option<&KernelTypes>,
    not_gpl: bool,
) -> Step<Vec<Subprog>> {
    let mut starts = vec![0];
    let mut kfuncs = BTreeSet::new();
    for (at, insn) in insns.iter().enumerate() {
        if is_subprog_call(insn) || is_subprog_address(insn) {
            let target = at as i64 + i64::from(insn.imm) + 1;
            match usize::try_from(target) {
                Ok(target) if target < insns.len() => starts.push(target),
                _ => return Err(Stop::RejectAt(at, "call to invalid destination".to_owned())),
            }
        } else if insn.code == op::JMP | op::CALL && insn.src == op::PSEUDO_KFUNC_CALL {
            if kernel < Kernel::V6_1 {
                reject!("BPF_CALL uses reserved fields");
            }
            if not_gpl {
                reject!("cannot call kernel function from non-GPL compatible program");
            }
            // A call of "nothing" is permitted where no path leads; the loaders write it for missing weak functions.
            if insn.off != 0 {
                // Functions of modules are found through descriptors of their BTF, which a description cannot have.
                return Err(Stop::RejectAt(
                    at,
                    "kfunc offset > 0 without fd_array is invalid\nfailed to find BTF for kernel function".to_owned(),
                ));
            }
            if insn.imm != 0 && kfuncs.insert(insn.imm) && kfuncs.len() > MAX_KFUNCS {
                return Err(Stop::RejectAt(at, "too many different kernel function calls".to_owned()));
            }
            if insn.imm < 0 || (1..FIRST_KFUNC).contains(&insn.imm) {
                return Err(Stop::RejectAt(at, format!("kernel btf_id {} is not a function", insn.imm as u32)));
            }
            match types {
                Some(types) if insn.imm != 0 && !types.is_function(insn.imm as u32) => {
                    return Err(Stop::RejectAt(at, format!("kernel btf_id {} is not a function", insn.imm)));
                }
                None if insn.imm != 0 => {
                    unsupported!("the call of kernel function {} needs the kernel's BTF", insn.imm)
                }
                _ => {}
            }
        }
    }
    starts.sort();
    starts.dedup();
    if starts.len() > MAX_SUBPROGS {
        reject!("too many subprograms");
    }
    Ok(starts.into_iter().map(|start| Subprog { start, ..Subprog::default() }).collect())
}

/// No jump leaves its function and each function ends with an exit or a jump (`check_subprogs`).
pub(in crate::verifier_sim) fn check_subprogs(insns: &[Insn], subprogs: &mut [Subprog]) -> Step {
    for index in 0..subprogs.len() {
        let start = subprogs[index].start;
        let end = subprogs.get(index + 1).map_or(insns.len(), |next| next.start);
        for (at, insn) in insns.iter().enumerate().take(end).skip(start) {
            if insn.code == op::JMP | op::CALL && insn.src == 0 && insn.imm == TAIL_CALL {
                subprogs[index].has_tail_call = true;
            }
            let class = insn.code & op::CLASS_MASK;
            let operation = insn.code & op::OP_MASK;
            if matches!(class, op::JMP | op::JMP32) && !matches!(operation, op::EXIT | op::CALL) {
                let target = jump_target(at, insn);
                if target < start as i64 || target >= end as i64 {
                    return fail(at, &format!("jump out of range from insn {at} to {target}"));
                }
            }
        }
        let last = insns[end - 1].code;
        if last != op::JMP | op::EXIT && last != op::JMP | op::JA && last != op::JMP32 | op::JA {
            return fail(end - 1, "last insn is not an exit or jmp");
        }
    }
    Ok(())
}

/// Whether the kernel knows the opcode at all (`bpf_opcode_in_insntable`).
fn known_opcode(code: u8, kernel: Kernel) -> bool {
    let (class, operation, source) = (code & op::CLASS_MASK, code & op::OP_MASK, code & op::X);
    let (mode, size) = (code & op::MODE_MASK, code & op::SIZE_MASK);
    match class {
        op::ALU | op::ALU64 => match operation {
            op::NEG => source == op::K,
            op::END => class == op::ALU || (source == op::K && kernel >= Kernel::V6_12),
            _ => operation <= op::ARSH,
        },
        op::JMP | op::JMP32 => match operation {
            op::JA => source == op::K && (class == op::JMP || kernel >= Kernel::V6_12),
            op::CALL | op::EXIT => code == op::JMP | operation,
            op::JCOND => code == op::JMP | op::JCOND && kernel >= Kernel::V6_12,
            _ => operation <= op::JSLE,
        },
        op::LDX => mode == op::MEM || (mode == op::MEMSX && size != op::DW && kernel >= Kernel::V6_12),
        op::ST => mode == op::MEM,
        op::STX => match mode {
            op::MEM => true,
            op::ATOMIC => matches!(size, op::W | op::DW) || kernel >= Kernel::V6_18,
            _ => false,
        },
        _ => match mode {
            op::IMM => size == op::DW,
            op::ABS | op::IND => size != op::DW,
            _ => false,
        },
    }
}

/// Checks opcodes and 64-bit loads, and finds out which map each load refers to (`resolve_pseudo_ldimm64`).
///
/// `loads` has the map of each slot that loads one.
pub(in crate::verifier_sim) fn resolve(
    insns: &[Insn],
    maps: &[Map<'_>],
    aux: &mut [Aux],
    loads: &[Option<u32>],
    place: Place,
    types: Option<&KernelTypes>,
) -> Step {
    let kernel = place.kernel;
    let mut used: Vec<u32> = Vec::new();
    let mut at = 0;
    while at < insns.len() {
        let insn = &insns[at];
        let (class, mode) = (insn.code & op::CLASS_MASK, insn.code & op::MODE_MASK);
        if class == op::LDX && (!matches!(mode, op::MEM | op::MEMSX) || insn.imm != 0) {
            return fail(at, "BPF_LDX uses reserved fields");
        }
        if class == op::STX && kernel < Kernel::V6_1 && (!matches!(mode, op::MEM | op::ATOMIC) || insn.imm != 0) {
            return fail(at, "BPF_STX uses reserved fields");
        }
        if !is_load_imm64(insn) {
            if !known_opcode(insn.code, kernel) {
                return fail(at, &format!("unknown opcode {:02x}", insn.code));
            }
            at += 1;
            continue;
        }
        let Some(second) = insns.get(at + 1).filter(|next| (next.code, next.dst, next.src, next.off) == (0, 0, 0, 0))
        else {
            return fail(at, "invalid bpf_ld_imm64 insn");
        };
        match insn.src {
            0 | op::PSEUDO_FUNC => {}
            op::PSEUDO_BTF_ID if second.imm != 0 => return fail(at, "invalid module BTF object FD specified."),
            op::PSEUDO_BTF_ID if insn.imm < FIRST_KFUNC => {
                return fail(at, &format!("pseudo btf_id {} in ldimm64 isn't KIND_VAR or KIND_FUNC", insn.imm));
            }
            op::PSEUDO_BTF_ID => {
                let id = insn.imm as u32;
                let Some(types) = types else {
                    unsupported!("the load of kernel variable {id} needs the kernel's BTF")
                };
                if let Err(Stop::Reject(rule)) = variable::address(types, id) {
                    return Err(Stop::RejectAt(at, rule));
                }
            }
            op::PSEUDO_MAP_FD if second.imm != 0 => return fail(at, "unrecognized bpf_ld_imm64 insn"),
            op::PSEUDO_MAP_IDX if second.imm != 0 => return fail(at, "unrecognized bpf_ld_imm64 insn"),
            op::PSEUDO_MAP_IDX | op::PSEUDO_MAP_IDX_VALUE => return fail(at, "fd_idx without fd_array is invalid"),
            op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE => {
                let Some(number) = loads[at] else {
                    return fail(at, &format!("fd {} is not pointing to valid bpf_map", insn.imm));
                };
                aux[at].map = Some(number);
                let map = &maps[number as usize];
                if !used.contains(&number) {
                    if used.len() >= MAX_USED_MAPS {
                        return fail(at, "The total number of maps per program has reached the limit of 64");
                    }
                    check_map(at, &used, maps, map, place)?;
                    used.push(number);
                }
                if insn.src == op::PSEUDO_MAP_VALUE {
                    check_direct_value(at, map, second.imm as u32)?;
                }
            }
            _ => return fail(at, "unrecognized bpf_ld_imm64 insn"),
        }
        at += 2;
    }
    Ok(())
}

/// Whether a program may use the map, given those it already uses (`check_map_prog_compatibility`).
fn check_map(at: usize, used: &[u32], maps: &[Map<'_>], map: &Map<'_>, place: Place) -> Step {
    let kind = map.kind();
    let has = |field| map.field(field).is_some();
    if place.prog == ProgType::SOCKET_FILTER && has(FieldKind::SpinLock) {
        return fail(at, "socket filter progs cannot use bpf_spin_lock yet");
    }
    if place.is_tracing() {
        if has(FieldKind::ResSpinLock) || has(FieldKind::TaskWork) || has(FieldKind::Other) {
            unsupported!("some special fields in maps of tracing programs are not simulated");
        }
        if has(FieldKind::ListHead) || has(FieldKind::RbRoot) {
            return fail(at, "tracing progs cannot use bpf_{list_head,rb_root} yet");
        }
        let refused =
            [FieldKind::SpinLock, FieldKind::Timer, FieldKind::Workqueue].into_iter().find(|field| has(*field));
        if let Some(field) = refused {
            return fail(at, &format!("tracing progs cannot use {} yet", field.name()));
        }
        // Older kernels want their hash tables allocated ahead, or warn.
        if kernel_allocates_late(map) && place.kernel < Kernel::V6_12 {
            unsupported!("maps that are not allocated ahead, in tracing programs of older kernels, are not simulated");
        }
    }
    if kind == MapType::STRUCT_OPS {
        return fail(at, "bpf_struct_ops map cannot be used in prog");
    }
    if kind == MapType::ARENA {
        // Only a mapping by user space gives an arena its address, and a description of a map cannot say that.
        return fail(at, "arena's user address must be set via map_extra or mmap()");
    }
    let storage = matches!(kind, MapType::CGROUP_STORAGE | MapType::PERCPU_CGROUP_STORAGE);
    if storage && used.iter().any(|other| maps[*other as usize].kind() == kind) {
        return fail(at, "only one cgroup storage of each type is allowed");
    }
    Ok(())
}

/// Whether the map's entries are allocated when they are made (`BPF_F_NO_PREALLOC`).
fn kernel_allocates_late(map: &Map<'_>) -> bool {
    map.spec.map_flags & 1 != 0
}

/// The largest direct offset into a map's value (`BPF_MAX_VAR_OFF`).
const MAX_DIRECT_OFFSET: u32 = 1 << 29;

fn check_direct_value(at: usize, map: &Map<'_>, offset: u32) -> Step {
    if offset >= MAX_DIRECT_OFFSET {
        return fail(at, &format!("direct value offset of {offset} is not allowed"));
    }
    if !map.has_direct_values() {
        return fail(at, "no direct value access support for this map type");
    }
    // array_map_direct_value_addr: only arrays of one entry, and the offset must lie in it.
    if map.spec.max_entries != 1 || offset >= map.spec.value_size {
        let size = map.spec.value_size;
        return fail(at, &format!("invalid access to map value pointer, value_size={size} off={offset}"));
    }
    Ok(())
}

fn fail(at: usize, rule: &str) -> Step {
    Err(Stop::RejectAt(at, rule.to_owned()))
}

/// Every instruction can be reached, none in the middle of a 64-bit load; marks where paths are compared (`check_cfg`).
pub(in crate::verifier_sim) fn check_cfg(insns: &[Insn], aux: &mut [Aux], kernel: Kernel) -> Step {
    let mut reached = vec![false; insns.len()];
    let mut todo = vec![0];
    reached[0] = true;
    while let Some(at) = todo.pop() {
        let insn = &insns[at];
        if insn.code & op::OP_MASK == op::JA
            && matches!(insn.code & op::CLASS_MASK, op::JMP | op::JMP32)
            && insn.code & op::X != 0
        {
            return fail(at, "BPF_JA uses reserved fields");
        }
        for next in successors(insns, at, true).into_iter().flatten() {
            if next >= insns.len() {
                return fail(at, &format!("jump out of range from insn {at} to {next}"));
            }
            if !reached[next] {
                reached[next] = true;
                todo.push(next);
            }
        }
        mark_prune_points(insns, aux, at, kernel);
    }
    let mut at = 0;
    while at < insns.len() {
        if !reached[at] {
            return fail(at, &format!("unreachable insn {at}"));
        }
        if is_load_imm64(&insns[at]) {
            if reached[at + 1] {
                return fail(at, &format!("jump into the middle of ldimm64 insn {at}"));
            }
            at += 1;
        }
        at += 1;
    }
    Ok(())
}

fn mark_prune_points(insns: &[Insn], aux: &mut [Aux], at: usize, kernel: Kernel) {
    let insn = &insns[at];
    let Aux { moves_iterator, calls_back, calls_later, .. } = aux[at];
    let mut point = |at: i64, jump: bool| {
        if let Some(aux) = usize::try_from(at).ok().and_then(|at| aux.get_mut(at)) {
            aux.prune_point = true;
            aux.jump_point |= jump;
        }
    };
    if is_subprog_address(insn) {
        point(at as i64, false);
        point(at as i64 + 2, true);
        point(at as i64 + i64::from(insn.imm) + 1, true);
        return;
    }
    if !matches!(insn.code & op::CLASS_MASK, op::JMP | op::JMP32) {
        return;
    }
    match insn.code & op::OP_MASK {
        op::EXIT => {}
        op::CALL => {
            point(at as i64 + 1, true);
            if insn.src == op::PSEUDO_CALL {
                point(at as i64, false);
                point(at as i64 + i64::from(insn.imm) + 1, true);
            } else if moves_iterator {
                point(at as i64, false);
                aux[at].force_checkpoint = true;
            } else if calls_later {
                point(at as i64, false);
            } else if calls_back && kernel >= Kernel::V6_12 {
                point(at as i64, true);
                aux[at].force_checkpoint = true;
            }
        }
        op::JA => point(jump_target(at, insn), true),
        _ => {
            point(at as i64, false);
            point(jump_target(at, insn), true);
            if is_may_goto(insn) {
                aux[at].force_checkpoint = true;
            }
        }
    }
}

/// The slots that may be executed after slot `at`; `calls` says whether a subprogram's start is one of them.
pub(in crate::verifier_sim) fn successors(insns: &[Insn], at: usize, calls: bool) -> [Option<usize>; 2] {
    let insn = &insns[at];
    let slot = |target: i64| Some(usize::try_from(target).unwrap_or(usize::MAX));
    let width = if is_load_imm64(insn) { 2 } else { 1 };
    if is_subprog_address(insn) {
        let target = if calls { slot(at as i64 + i64::from(insn.imm) + 1) } else { None };
        return [Some(at + width), target];
    }
    if !matches!(insn.code & op::CLASS_MASK, op::JMP | op::JMP32) {
        return [Some(at + width), None];
    }
    match insn.code & op::OP_MASK {
        op::EXIT => [None, None],
        op::CALL if insn.src == op::PSEUDO_CALL && calls => [Some(at + 1), slot(at as i64 + i64::from(insn.imm) + 1)],
        op::CALL => [Some(at + 1), None],
        op::JA => [slot(jump_target(at, insn)), None],
        _ => [Some(at + 1), slot(jump_target(at, insn))],
    }
}
