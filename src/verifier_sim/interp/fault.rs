//! What can go wrong while a program runs, as values.

use super::memory::RegionKind;

/// A run that ended early: where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {pc}: {fault}")]
#[non_exhaustive]
pub struct Trap {
    /// Slot number of the instruction that faulted.
    pub pc: usize,
    /// What it did.
    pub fault: Fault,
}

/// The reason of a [`Trap`]. On a real kernel each of these is a crash, so the verifier must rule all of them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The opcode, its source, offset or immediate name no operation.
    #[error("opcode {code:#04x} with source {src}, offset {off} and immediate {imm} is not an instruction")]
    BadInstruction {
        /// The opcode byte.
        code: u8,
        /// Source register field.
        src: u8,
        /// Offset field.
        off: i16,
        /// Immediate field.
        imm: i32,
    },
    /// A register above r10.
    #[error("there is no register r{0}")]
    BadRegister(u8),
    /// r10 is the frame pointer and cannot be written.
    #[error("r10 is read-only")]
    FramePointerWritten,
    /// A register was read before anything was put into it.
    #[error("r{0} is read before it is written")]
    Uninitialized(u8),
    /// Control left the program.
    #[error("control reaches slot {0}, which is outside the program")]
    OutsideProgram(i64),
    /// More nested calls than the kernel's MAX_CALL_FRAMES.
    #[error("the call stack is deeper than 8 frames")]
    CallDepth,
    /// More instructions than [`super::Limits::instructions`].
    #[error("the program is still running after {0} instructions")]
    Budget(u64),
    /// An address in no region.
    #[error("address {0:#x} belongs to no memory region")]
    Unmapped(u64),
    /// An access that leaves its region.
    #[error("access to {size} bytes at offset {offset} of the {kind} of {len} bytes")]
    OutOfBounds {
        /// What the region is.
        kind: RegionKind,
        /// Where the access starts, from the region's first byte.
        offset: i64,
        /// How many bytes were asked for.
        size: u64,
        /// How many bytes the region has.
        len: u64,
    },
    /// Nothing is wrong: the environment goes on with something else.
    #[error("the environment stops the program")]
    Stopped,
    /// A region that was freed.
    #[error("access to a {0} after it was freed")]
    Freed(RegionKind),
    /// A store to memory the program may only read.
    #[error("store to offset {offset} of a read-only {kind}")]
    ReadOnly {
        /// What the region is.
        kind: RegionKind,
        /// Where the store starts.
        offset: i64,
    },
    /// An atomic operation on an address that is not a multiple of its size.
    #[error("atomic operation of {size} bytes at the unaligned address {address:#x}")]
    Unaligned {
        /// The address.
        address: u64,
        /// Size of the operation.
        size: u64,
    },
    /// A helper this environment does not have.
    #[error("there is no helper with id {0} here")]
    UnknownHelper(i32),
    /// A kernel function this environment does not have.
    #[error("there is no kernel function with BTF id {0} here")]
    UnknownKfunc(i32),
    /// The address of a function of the program, for a helper that calls it.
    #[error("functions that helpers call, as bpf_loop does, are judged and not run")]
    Callback,
    /// A helper argument the helper cannot take.
    #[error("argument {argument} of helper {helper} is {value:#x}, which is not {wanted}")]
    BadArgument {
        /// The helper's id.
        helper: i32,
        /// 1 to 5.
        argument: u8,
        /// What it was given.
        value: u64,
        /// What it takes.
        wanted: &'static str,
    },
    /// A 64-bit immediate load names a map the program does not have.
    #[error("the program has no map number {0}")]
    NoSuchMap(i32),
    /// A direct address into a map whose type has none, or beyond its value.
    #[error("map number {map} has no direct address at offset {offset}")]
    NoDirectValue {
        /// Index of the map.
        map: i32,
        /// Offset asked for.
        offset: u32,
    },
}
