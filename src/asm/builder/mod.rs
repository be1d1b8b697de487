//! The assembler: emits instructions, hands out labels, remembers who called.

mod alu;
mod contract;
mod flow;
mod frame;
mod islands;
mod jump;
mod layout;
mod memory;
#[cfg(test)]
mod tests;
mod typed;

use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Error, Features, Insn, MapRef, Program};
use contract::Emitter;
use frame::Frame;

pub use frame::Slot;

type Place = &'static Location<'static>;

/// A place in the program, made by [`Asm::label`] and given its meaning by [`Asm::bind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    asm: u32,
    index: usize,
}

/// What is known about a label so far.
struct LabelState {
    name: String,
    made: Place,
    /// Index of the item that follows the label.
    bound: Option<(usize, Place)>,
    /// How many labels and ends of emitters came before it was bound.
    order: usize,
}

/// One emitted instruction, before its place is known.
#[derive(Clone, Copy)]
enum Item {
    /// A single slot.
    Plain(Insn),
    /// A call of a helper, and how many arguments it takes.
    Helper(Insn, u8),
    /// A 64-bit immediate load.
    Wide(Insn, i32),
    /// A load of a map or of an address in its value.
    Map(Insn, i32, MapRef),
    /// `if` condition, `may_goto` or `goto`, with a 16-bit offset.
    Jump(Insn, Label),
    /// A call of a subprogram.
    Call(Insn, Label),
    /// A 64-bit load of a subprogram's address.
    Func(Insn, Label),
}

/// A named check, before its place is known.
struct CheckState {
    name: String,
    items: Vec<usize>,
    label: Label,
    at: Place,
    /// Dropped, it always jumps.
    jumps: bool,
}

/// An assembler. Mistakes are kept and reported by [`Asm::finish`].
///
/// ```
/// use sidestep::asm::{Asm, Reg::*};
///
/// let mut a = Asm::new();
/// let nowhere = a.label("nowhere");
/// a.goto(nowhere);
/// let error = a.finish().unwrap_err().to_string();
/// assert!(error.contains("label `nowhere`") && error.contains(".rs:"), "{error}");
/// ```
pub struct Asm {
    id: u32,
    features: Features,
    items: Vec<(Item, Place)>,
    /// Of each item the very line that emitted it, until islands are built.
    lines: Vec<Place>,
    labels: Vec<LabelState>,
    /// Counts what is bound and what ends.
    order: usize,
    checks: Vec<CheckState>,
    emitters: Vec<Emitter>,
    /// The emitters that have begun and not ended, by their numbers.
    open: Vec<usize>,
    /// Where the outermost idiom was called that is open.
    inlined: Option<Place>,
    /// The line that a check is on while it is emitted.
    line: Option<Place>,
    frame: Frame,
    comments: Vec<(usize, String)>,
    mistakes: Vec<Error>,
}

impl Default for Asm {
    fn default() -> Self {
        Self::new()
    }
}

impl Asm {
    /// An assembler that may use every instruction.
    pub fn new() -> Self {
        Self::with_features(Features::all())
    }

    /// An assembler that may use these parts of the instruction set: [`Features::LINUX_5_10`], or those of a compiler's
    /// ISA version ([`Isa`](super::Isa) converts into them).
    pub fn with_features(features: Features) -> Self {
        /// Tells labels of different assemblers apart.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            features,
            items: Vec::new(),
            lines: Vec::new(),
            labels: Vec::new(),
            order: 0,
            checks: Vec::new(),
            emitters: Vec::new(),
            open: Vec::new(),
            inlined: None,
            line: None,
            frame: Frame::default(),
            comments: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// The parts of the instruction set that this assembler may use.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Makes a label; the name is for listings and errors and need not be unique.
    #[track_caller]
    pub fn label(&mut self, name: impl AsRef<str>) -> Label {
        self.named_label(name.as_ref())
    }

    // Once for all kinds of names.
    #[track_caller]
    #[cold]
    fn named_label(&mut self, name: &str) -> Label {
        self.labels.push(LabelState { name: name.into(), made: Location::caller(), bound: None, order: 0 });
        Label { asm: self.id, index: self.labels.len() - 1 }
    }

    /// Lets the label point to the next instruction.
    // Cold, as `emit` is: programs are built once, and these two inlined into each of their lines took 170 kB.
    #[track_caller]
    #[cold]
    pub fn bind(&mut self, label: Label) {
        let here = Location::caller();
        let next = self.items.len();
        let state = if label.asm == self.id { self.labels.get_mut(label.index) } else { None };
        let mistake = match state {
            None => Error::ForeignLabel { at: here },
            Some(LabelState { name, bound: Some((_, first)), .. }) => {
                Error::DoublyBoundLabel { name: name.clone(), first, second: here }
            }
            Some(state) => {
                state.bound = Some((next, here));
                state.order = self.order;
                self.order += 1;
                return;
            }
        };
        self.mistakes.push(mistake);
    }

    /// Makes a label that points to the next instruction: [`Asm::label`] and [`Asm::bind`] in one.
    #[track_caller]
    pub fn here(&mut self, name: impl AsRef<str>) -> Label {
        let label = self.label(name);
        self.bind(label);
        label
    }

    /// Explains the next instruction in listings. After the last instruction there is nothing to explain and it is dropped.
    pub fn comment(&mut self, text: impl AsRef<str>) {
        self.keep_comment(text.as_ref());
    }

    #[cold]
    fn keep_comment(&mut self, text: &str) {
        self.comments.push((self.items.len(), text.into()));
    }

    /// Emits a slot as it is, valid or not.
    #[track_caller]
    pub fn raw(&mut self, insn: Insn) {
        self.emit(Item::Plain(insn));
    }

    /// Lays the program out. The first mistake made on the way here is the error.
    pub fn finish(self) -> Result<Program, Error> {
        layout::finish(self)
    }

    // Not inlined, and what calls it is optimised for size.
    #[track_caller]
    #[cold]
    fn emit(&mut self, item: Item) {
        let line = self.line.unwrap_or(Location::caller());
        self.items.push((item, self.inlined.unwrap_or(line)));
        self.lines.push(line);
    }

    #[track_caller]
    #[cold]
    fn invalid(&mut self, what: String, remedy: &'static str) {
        self.mistakes.push(Error::InvalidOperand { at: self.inlined.unwrap_or(Location::caller()), what, remedy });
    }
}
