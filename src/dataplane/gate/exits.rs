//! The ways out of the gate: labels to jump to, and the counter that says why.

use crate::asm::{Asm, Label};
use crate::dataplane::state::Counter;

/// The ways out of the gate: labels to jump to, and the counter that says why.
#[derive(Default)]
pub(in crate::dataplane) struct Exits {
    list: Vec<(Label, Counter)>,
}

impl Exits {
    /// The label of the exit that counts `counter`.
    pub(in crate::dataplane) fn to(&mut self, a: &mut Asm, counter: Counter) -> Label {
        if let Some((label, _)) = self.list.iter().find(|(_, known)| *known == counter) {
            return *label;
        }
        let label = a.label(counter.name());
        self.list.push((label, counter));
        label
    }

    /// The exits asked for, to be bound.
    pub(in crate::dataplane) fn into_list(self) -> Vec<(Label, Counter)> {
        self.list
    }
}
