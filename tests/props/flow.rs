//! Structured forms against the labels and jumps that one would write by hand.

use proptest::collection::vec;
use proptest::prelude::*;
use sidestep::asm::{Asm, Cond, Label, Reg, Test};

use super::strategies::{operand, reg};

/// A part of a program.
#[derive(Clone, Debug)]
enum Node {
    Move(i32),
    Block(Vec<Node>),
    /// Out of the innermost block, if there is one.
    Leave(Choice),
    If(Choice, Vec<Node>),
    IfElse(Choice, Vec<Node>, Vec<Node>),
    Require(Choice),
    Permit(Choice),
    Guard(Choice, Vec<Node>),
}

/// A condition, as a [`Test`] and by hand.
#[derive(Clone, Copy, Debug)]
struct Choice {
    cond: Cond,
    reg: Reg,
    operand: sidestep::asm::Operand,
    wide: bool,
    /// For [`Cond::Set`]: that no bit is set.
    negated: bool,
}

impl Choice {
    fn test(self) -> Test {
        macro_rules! pick {
            ($($cond:ident $name:ident),*) => {
                match (self.cond, self.wide) {
                    (Cond::Set, true) if self.negated => self.reg.none_of(self.operand),
                    (Cond::Set, false) if self.negated => self.reg.w().none_of(self.operand),
                    (Cond::Set, true) => self.reg.any_of(self.operand),
                    (Cond::Set, false) => self.reg.w().any_of(self.operand),
                    $((Cond::$cond, true) => self.reg.$name(self.operand),
                    (Cond::$cond, false) => self.reg.w().$name(self.operand),)*
                }
            };
        }
        pick! {
            Eq equals, Ne differs, Gt above, Ge at_least, Lt below, Le at_most,
            Sgt signed_above, Sge signed_at_least, Slt signed_below, Sle signed_at_most
        }
    }

    fn jump(self, a: &mut Asm, cond: Cond, label: Label) {
        if self.wide {
            a.jump(cond, self.reg, self.operand, label);
        } else {
            a.jump32(cond, self.reg, self.operand, label);
        }
    }

    /// By hand: jumps if it holds, or if it does not.
    fn by_hand(self, a: &mut Asm, holds: bool, label: Label) {
        let holds = holds != (self.negated && self.cond == Cond::Set);
        match (holds, self.cond.inverted()) {
            (true, _) => self.jump(a, self.cond, label),
            (false, Some(inverse)) => self.jump(a, inverse, label),
            (false, None) => {
                let past = a.label("past");
                self.jump(a, self.cond, past);
                a.goto(label);
                a.bind(past);
            }
        }
    }
}

fn structured(a: &mut Asm, nodes: &[Node], out: Label, block: Option<Label>) {
    for node in nodes {
        match node {
            Node::Move(value) => a.mov(Reg::R1, *value),
            Node::Block(body) => a.block("block", |a, end| structured(a, body, out, Some(end))),
            Node::Leave(choice) => a.jump_if(choice.test(), block.unwrap_or(out)),
            Node::If(choice, body) => a.if_(choice.test(), |a| structured(a, body, out, block)),
            Node::IfElse(choice, then, other) => {
                a.if_else(choice.test(), |a| structured(a, then, out, block), |a| structured(a, other, out, block));
            }
            Node::Require(choice) => a.require(choice.test(), out, "required"),
            Node::Permit(choice) => a.permit(choice.test(), out, "permitted"),
            Node::Guard(choice, body) => a.guard(choice.test(), "guarded", |a| structured(a, body, out, block)),
        }
    }
}

fn by_hand(a: &mut Asm, nodes: &[Node], out: Label, block: Option<Label>) {
    for node in nodes {
        match node {
            Node::Move(value) => a.mov(Reg::R1, *value),
            Node::Block(body) => {
                let end = a.label("end");
                by_hand(a, body, out, Some(end));
                a.bind(end);
            }
            Node::Leave(choice) => choice.by_hand(a, true, block.unwrap_or(out)),
            Node::If(choice, body) | Node::Guard(choice, body) => {
                let end = a.label("end");
                choice.by_hand(a, false, end);
                by_hand(a, body, out, block);
                a.bind(end);
            }
            Node::IfElse(choice, then, other) => {
                let [second, end] = ["second", "end"].map(|name| a.label(name));
                choice.by_hand(a, false, second);
                by_hand(a, then, out, block);
                a.goto(end);
                a.bind(second);
                by_hand(a, other, out, block);
                a.bind(end);
            }
            Node::Require(choice) => choice.by_hand(a, false, out),
            Node::Permit(choice) => choice.by_hand(a, true, out),
        }
    }
}

fn choice() -> impl Strategy<Value = Choice> {
    let cond = prop::sample::select(&Cond::ALL[..]);
    let parts = (cond, reg(), operand(), any::<bool>(), any::<bool>());
    parts.prop_map(|(cond, reg, operand, wide, negated)| Choice { cond, reg, operand, wide, negated })
}

/// Any condition but those that a form refuses.
fn choice_but(negated: bool) -> impl Strategy<Value = Choice> {
    choice().prop_map(move |choice| Choice { negated: !negated, ..choice })
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Node::Move),
        choice().prop_map(Node::Leave),
        choice().prop_map(Node::Require),
        choice_but(true).prop_map(Node::Permit),
    ];
    let node = leaf.prop_recursive(4, 40, 4, |inner| {
        let body = || vec(inner.clone(), 0..4);
        prop_oneof![
            body().prop_map(Node::Block),
            (choice(), body()).prop_map(|(choice, body)| Node::If(choice, body)),
            (choice(), body(), body()).prop_map(|(choice, then, other)| Node::IfElse(choice, then, other)),
            (choice_but(false), body()).prop_map(|(choice, body)| Node::Guard(choice, body)),
        ]
    });
    vec(node, 0..6)
}

fn build(emit: impl FnOnce(&mut Asm, Label)) -> sidestep::asm::Program {
    let mut a = Asm::new();
    let out = a.label("out");
    emit(&mut a, out);
    a.bind(out);
    a.exit();
    a.finish().expect("every label is bound")
}

/// The checks that the nodes should leave, in the order in which they are emitted.
fn checks(nodes: &[Node], names: &mut Vec<&'static str>) {
    for node in nodes {
        match node {
            Node::Move(_) | Node::Leave(_) => {}
            Node::Block(body) | Node::If(_, body) => checks(body, names),
            Node::IfElse(_, then, other) => [then, other].into_iter().for_each(|body| checks(body, names)),
            Node::Require(_) => names.push("required"),
            Node::Permit(_) => names.push("permitted"),
            Node::Guard(_, body) => {
                names.push("guarded");
                checks(body, names);
            }
        }
    }
}

proptest! {
    #[test]
    fn structured_forms_emit_what_labels_would(nodes in nodes()) {
        let program = build(|a, out| structured(a, &nodes, out, None));
        let labels = build(|a, out| by_hand(a, &nodes, out, None));
        prop_assert_eq!(program.insns(), labels.insns());
        let mut expected = Vec::new();
        checks(&nodes, &mut expected);
        let names: Vec<_> = program.checks().iter().map(|check| check.name.as_str()).collect();
        prop_assert_eq!(names, expected);
        // A dropped check changes its own slots and no others, and the program keeps its length.
        for check in program.checks() {
            let without = program.without(check);
            prop_assert_eq!(without.insns().len(), program.insns().len());
            for (slot, (now, before)) in without.insns().iter().zip(program.insns()).enumerate() {
                prop_assert!(now == before || check.slots.contains(&slot));
            }
        }
    }
}
