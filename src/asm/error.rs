//! What can go wrong between the first label and the last byte.

use std::panic::Location;

use super::{Features, MapRef, Reg};

/// A place in Rust source that called the assembler.
type Place = &'static Location<'static>;

/// An error of the assembler. Each names the Rust line to correct where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A label was used and never bound.
    #[error("{used}: label `{name}` (made at {made}) is used but never bound; call bind() on it where it should point")]
    UnboundLabel {
        /// The label's name.
        name: String,
        /// Where it was made.
        made: Place,
        /// Where it was first used.
        used: Place,
    },
    /// A label was bound twice.
    #[error("{second}: label `{name}` was already bound at {first}; make a second label for the second place")]
    DoublyBoundLabel {
        /// The label's name.
        name: String,
        /// Where it was bound first.
        first: Place,
        /// Where it was bound again.
        second: Place,
    },
    /// A label of another assembler was used.
    #[error("{at}: this label belongs to another assembler; use one made by label() of the same `Asm`")]
    ForeignLabel {
        /// Where it was used.
        at: Place,
    },
    /// A used label points past the last instruction.
    #[error(
        "{used}: label `{name}` is bound at {bound}, after the last instruction; emit the instruction it should reach"
    )]
    LabelAtEnd {
        /// The label's name.
        name: String,
        /// Where it was bound.
        bound: Place,
        /// Where it was used.
        used: Place,
    },
    /// A jump does not reach its label, the long form is not allowed, and jumps by way of other jumps would fill a
    /// million slots.
    #[error(
        "{at}: the jump to `{name}` spans {distance} slots, a 16-bit offset reaches -32768 to 32767, and too many \
         jumps pass here for intermediate ones; allow the feature GOTOL (Linux 6.6) or move the code closer"
    )]
    JumpOutOfRange {
        /// The label's name.
        name: String,
        /// Distance in slots from the slot after the jump.
        distance: i64,
        /// Where the jump was emitted.
        at: Place,
    },
    /// An instruction is newer than what the assembler may use.
    #[error(
        "{at}: slot {slot} (opcode {code:#04x}) needs {}, Linux {} or later, which is not allowed here; \
         use another instruction or widen the set given to with_features()", .missing.names(), .missing.since()
    )]
    MissingFeature {
        /// Where the instruction was emitted.
        at: Place,
        /// Its slot.
        slot: usize,
        /// Its opcode.
        code: u8,
        /// What is needed and not allowed.
        missing: Features,
    },
    /// An operand that the instruction cannot take.
    #[error("{at}: {what}; {remedy}")]
    InvalidOperand {
        /// Where the instruction was emitted.
        at: Place,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A stack slot was used after the frame that it belongs to.
    #[error(
        "{used}: stack slot `{name}` (made at {made}) belongs to a frame that ended at {ended}; make it in a frame around \
         both"
    )]
    SlotEnded {
        /// The slot's name.
        name: String,
        /// Where it was made.
        made: Place,
        /// Where its frame was opened.
        ended: Place,
        /// Where it was used.
        used: Place,
    },
    /// A stack slot of another assembler was used.
    #[error("{at}: this stack slot belongs to another assembler; use one made by slot() of the same `Asm`")]
    ForeignSlot {
        /// Where it was used.
        at: Place,
    },
    /// The live stack slots do not fit into the stack.
    #[error(
        "{made}: with stack slot `{name}` {bytes} bytes of stack are in use, and a program has 512 \
         (MAX_BPF_STACK); {live} are in use at the same time, so end a frame before"
    )]
    StackTooLarge {
        /// The slot's name.
        name: String,
        /// Where it was made.
        made: Place,
        /// Depth of the stack that it takes, in bytes.
        bytes: usize,
        /// The names of the other slots that are in use.
        live: String,
    },
    /// An emitter does not keep its register contract.
    #[error("{at}: `{emitter}` (declared at {declared}) {breach}")]
    BrokenContract {
        /// The emitter, with those around it.
        emitter: String,
        /// Where its contract stands.
        declared: Place,
        /// What it does.
        breach: Breach,
        /// The instruction that does it.
        at: Place,
    },
    /// A map was not resolved to a descriptor at encoding.
    #[error("slot {slot} refers to map {} and no descriptor was given for it; create the map before encoding", .map.0)]
    UnresolvedMap {
        /// The slot of the load.
        slot: usize,
        /// The map.
        map: MapRef,
    },
    /// The bytes do not divide into slots.
    #[error("a program is a whole number of 8-byte slots and this one has {len} bytes; pass complete instructions")]
    TruncatedProgram {
        /// Number of bytes given.
        len: usize,
    },
}

/// How an emitter does not keep its register contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// It writes what it has not declared.
    #[error("writes r{}, which it does not declare; add it to writes() or use another register", .0.number())]
    Writes(Reg),
    /// It reads what it has neither declared nor written on every way there.
    #[error("reads r{} of its caller, which it does not declare; add it to reads() or write it before", .0.number())]
    Reads(Reg),
    /// It promises to write a register and does not on every path.
    #[error("gives r{}, but ends on some path without; write it on every path, and after the last call", .0.number())]
    Gives(Reg),
}
