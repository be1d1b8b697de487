//! Stack slots: no two that are in use at the same time share a byte, and none lies outside the stack.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Error, Reg, Slot};

#[derive(Clone, Debug)]
enum Node {
    /// A slot of 4, 8, 24 or 80 bytes.
    Slot(usize),
    Frame(Vec<Node>),
    /// Uses the slot with this number among those that were made, in use or not.
    Use(usize),
}

const SIZES: [i32; 4] = [4, 8, 24, 80];

/// A slot, and how deep it lies in frames that have not ended.
#[derive(Clone, Copy)]
enum Made {
    Small(Slot<u32>),
    Word(Slot<u64>),
    Head(Slot<[u64; 3]>),
    Large(Slot<[u64; 10]>),
}

struct Known {
    made: Made,
    size: i32,
    live: bool,
    /// The slots that were in use when it was made.
    beside: Vec<usize>,
}

#[derive(Default)]
struct Model {
    slots: Vec<Known>,
    /// Uses after the end of a frame.
    misused: bool,
}

impl Model {
    fn emit(&mut self, a: &mut Asm, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Slot(kind) => {
                    let made = match kind {
                        0 => Made::Small(a.slot("small")),
                        1 => Made::Word(a.slot("word")),
                        2 => Made::Head(a.slot("head")),
                        _ => Made::Large(a.slot("large")),
                    };
                    let beside = (0..self.slots.len()).filter(|index| self.slots[*index].live).collect();
                    self.slots.push(Known { made, size: SIZES[*kind], live: true, beside });
                    self.touch(a, self.slots.len() - 1);
                }
                Node::Frame(body) => a.frame(|a| self.within(a, body)),
                Node::Use(number) if !self.slots.is_empty() => {
                    let index = number % self.slots.len();
                    self.misused |= !self.slots[index].live;
                    self.touch(a, index);
                }
                Node::Use(_) => {}
            }
        }
    }

    fn within(&mut self, a: &mut Asm, body: &[Node]) {
        let first = self.slots.len();
        self.emit(a, body);
        self.slots[first..].iter_mut().for_each(|slot| slot.live = false);
    }

    /// Two instructions: the second adds the slot's distance, by which the test finds it.
    fn touch(&self, a: &mut Asm, index: usize) {
        a.mov(Reg::R9, index as i32);
        match self.slots[index].made {
            Made::Small(slot) => a.addr(Reg::R2, slot),
            Made::Word(slot) => a.addr(Reg::R2, slot),
            Made::Head(slot) => a.addr(Reg::R2, slot),
            Made::Large(slot) => a.addr(Reg::R2, slot),
        }
    }
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let leaf = prop_oneof![3 => (0..SIZES.len()).prop_map(Node::Slot), 1 => any::<usize>().prop_map(Node::Use)];
    let node = leaf.prop_recursive(4, 40, 5, |inner| {
        let body = || vec(inner.clone(), 0..5);
        body().prop_map(Node::Frame)
    });
    vec(node, 0..8)
}

proptest! {
    #[test]
    fn live_slots_never_overlap(nodes in nodes()) {
        let mut a = Asm::new();
        let mut model = Model::default();
        model.emit(&mut a, &nodes);
        a.exit();
        let program = match a.finish() {
            Ok(program) => program,
            Err(Error::SlotEnded { .. }) => {
                prop_assert!(model.misused);
                return Ok(());
            }
            Err(Error::StackTooLarge { .. }) => {
                // The slots that are in use can leave gaps that are too small, but not as many as they are.
                let most = model.slots.iter().map(|slot| {
                    slot.beside.iter().map(|index| 8 + model.slots[*index].size + 80).sum::<i32>() + slot.size
                });
                prop_assert!(most.max().unwrap_or(0) > 512);
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        prop_assert!(!model.misused);
        let mut bytes: Vec<Option<Range<i32>>> = vec![None; model.slots.len()];
        for touch in program.insns().chunks_exact(3) {
            let (index, offset) = (touch[0].imm as usize, touch[2].imm);
            let here = offset..offset + model.slots[index].size;
            prop_assert!(offset >= -512 && here.end <= 0 && offset % 8 == 0, "{:?}", here);
            // A slot stays where it is.
            prop_assert!(bytes[index].replace(here.clone()).is_none_or(|before| before == here));
        }
        for (index, slot) in model.slots.iter().enumerate() {
            let own = bytes[index].clone().unwrap();
            for other in &slot.beside {
                let other = bytes[*other].clone().unwrap();
                prop_assert!(own.end <= other.start || other.end <= own.start, "{:?} and {:?}", own, other);
            }
        }
    }
}
