//! The stack frame: slots are allocated, and freed when the frame that they were made in ends.
//!
//! ```text
//! FP - 0 ─────────────────────────────────
//!           slots of the outer frame
//!           slots of a frame in it        freed at its end, so that the next frame takes the same bytes
//! FP - 512 ───────────────────────────────
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::Location;

use super::{Asm, Place};
use crate::asm::place::{Root, SlotId};
use crate::asm::{Base, Error, FP, Laid, Place as TypedPlace, Reg};

/// `MAX_BPF_STACK`, include/linux/filter.h.
const STACK: i32 = 512;
/// Slots begin at multiples of this: the verifier keeps account of the stack in pieces of 8 bytes (`BPF_REG_SIZE`).
const ALIGN: usize = 8;

/// Bytes of the stack for an `S`, made by [`Asm::slot`].
pub struct Slot<S> {
    id: SlotId,
    object: PhantomData<fn() -> S>,
}

impl<S> Clone for Slot<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Slot<S> {}

impl<S> fmt::Debug for Slot<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Slot({})", self.id.index)
    }
}

impl<S> Base for Slot<S> {
    type Object = S;

    fn place(self) -> TypedPlace<S> {
        TypedPlace::slot(self.id)
    }
}

/// What is known about a slot.
struct SlotState {
    name: String,
    made: Place,
    /// Bytes from the frame pointer; negative.
    bytes: Range<i32>,
    /// Where the frame was opened that has ended since.
    ended: Option<Place>,
}

/// All slots of an assembler.
#[derive(Default)]
pub(super) struct Frame {
    slots: Vec<SlotState>,
    /// Those in use, by their numbers, in the order in which they were made.
    live: Vec<usize>,
}

impl Asm {
    /// Opens a frame: the stack slots that `body` makes are free again when it ends. Frames nest.
    ///
    /// ```
    /// use sidestep::asm::{Asm, Reg::*};
    ///
    /// let mut a = Asm::new();
    /// let kept = a.slot::<u64>("kept");
    /// a.set(kept, 0);
    /// for word in [1, 2] {
    ///     a.frame(|a| {
    ///         let short_lived = a.slot::<u32>("short_lived");
    ///         a.set(short_lived, word);
    ///         a.addr(R2, short_lived);
    ///     });
    /// }
    /// a.exit();
    /// let offsets: Vec<i16> = a.finish()?.insns().iter().map(|insn| insn.off).collect();
    /// assert_eq!(offsets, [-8, -16, 0, 0, -16, 0, 0, 0]);
    /// # Ok::<(), sidestep::asm::Error>(())
    /// ```
    #[track_caller]
    pub fn frame<R>(&mut self, body: impl FnOnce(&mut Self) -> R) -> R {
        let mark = self.frame.live.len();
        let result = body(self);
        self.frame.end(mark, Location::caller());
        result
    }

    /// Takes stack for an `S` until the frame ends in which this is called: the first gap below the frame pointer in which
    /// it finds room, aligned to 8 bytes. What does not fit into 512 bytes is an error of [`Asm::finish`].
    #[track_caller]
    pub fn slot<S: Laid>(&mut self, name: &str) -> Slot<S> {
        Slot { id: self.take(S::BYTES, name), object: PhantomData }
    }

    #[track_caller]
    #[cold]
    fn take(&mut self, bytes: usize, name: &str) -> SlotId {
        let size = bytes.next_multiple_of(ALIGN) as i32;
        let made = Location::caller();
        let bytes = self.frame.gap(size);
        if bytes.start < -STACK {
            let live = self.frame.live.iter().filter_map(|index| self.frame.slots.get(*index));
            let names: Vec<_> = live.map(|slot| format!("`{}`", slot.name)).collect();
            let live = if names.is_empty() { "no others".into() } else { names.join(", ") };
            self.mistakes.push(Error::StackTooLarge {
                name: name.into(),
                made,
                bytes: bytes.start.unsigned_abs() as usize,
                live,
            });
        }
        let index = self.frame.slots.len();
        self.frame.slots.push(SlotState { name: name.into(), made, bytes, ended: None });
        self.frame.live.push(index);
        SlotId { asm: self.id, index }
    }

    /// The register and the distance by which an instruction names this place. A place in a slot whose frame has ended
    /// is a mistake.
    #[track_caller]
    #[cold]
    pub(super) fn resolve(&mut self, root: Root, offset: i32) -> (Reg, i32) {
        let id = match root {
            Root::Reg(reg) => return (reg, offset),
            Root::Slot(id) => id,
        };
        let used = self.inlined.unwrap_or(Location::caller());
        let Some(slot) = self.frame.slots.get(id.index).filter(|_| id.asm == self.id) else {
            self.mistakes.push(Error::ForeignSlot { at: used });
            return (FP, offset);
        };
        if let Some(ended) = slot.ended {
            self.mistakes.push(Error::SlotEnded { name: slot.name.clone(), made: slot.made, ended, used });
        }
        (FP, slot.bytes.start + offset)
    }
}

impl Frame {
    /// Ends the slots from this one on.
    #[cold]
    fn end(&mut self, mark: usize, opened: Place) {
        for index in self.live.drain(mark..) {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.ended = Some(opened);
            }
        }
    }

    /// The highest free bytes of this many.
    fn gap(&self, size: i32) -> Range<i32> {
        let live = || self.live.iter().filter_map(|index| self.slots.get(*index));
        let mut top = 0;
        while let Some(slot) = live().find(|slot| slot.bytes.start < top && top - size < slot.bytes.end) {
            top = slot.bytes.start;
        }
        top - size..top
    }
}
