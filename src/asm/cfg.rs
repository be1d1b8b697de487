//! The control flow of a finished program: basic blocks, and the edges between them with the names of checks.
//!
//! A block is a run of instructions that is only entered at its first and only left at its last. A call of a subprogram goes
//! on behind it; the subprogram is a part of the graph of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

use super::opcode as op;
use super::{Check, Disasm, Insn, Program, disassemble};

/// A basic block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// Its slots.
    pub slots: Range<usize>,
    /// The labels that are bound to its first slot.
    pub labels: Vec<String>,
    /// Where it goes on.
    pub edges: Vec<Edge>,
}

/// A way from the end of a block to the start of another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// The first slot of the block that it leads to.
    pub to: usize,
    /// When it is taken.
    pub kind: EdgeKind,
    /// The name of the check whose instruction decides, if one does.
    pub check: Option<String>,
}

/// When an edge is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdgeKind {
    /// Always: a `goto`, or the next instruction is the first of a block.
    Always,
    /// If the condition holds.
    Taken,
    /// If it does not.
    Else,
}

/// The control flow of a program.
///
/// ```
/// use sidestep::asm::{Asm, Cfg, Reg::*};
///
/// let mut a = Asm::new();
/// let out = a.label("out");
/// a.mov(R0, 0);
/// a.require(R1.differs(0), out, "not null");
/// a.mov(R0, 1);
/// a.bind(out);
/// a.exit();
/// let cfg = Cfg::of(&a.finish()?);
/// let [first, second, last] = cfg.blocks() else { panic!("three blocks") };
/// assert_eq!((first.slots.clone(), second.slots.clone(), last.slots.clone()), (0..2, 2..3, 3..4));
/// assert_eq!(first.edges.iter().map(|edge| edge.to).collect::<Vec<_>>(), [3, 2]);
/// assert_eq!(first.edges[0].check.as_deref(), Some("not null"));
/// # Ok::<(), sidestep::asm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cfg {
    blocks: Vec<Block>,
}

impl Cfg {
    /// The control flow of any slots. A jump that leads out of the program has no edge.
    pub fn of(program: &Program) -> Self {
        let insns: Vec<(usize, Disasm)> = disassemble(program.insns()).collect();
        let end = program.insns().len();
        let starts: BTreeSet<usize> = insns.iter().map(|(slot, _)| *slot).collect();
        let ways = |slot: usize, disasm: &Disasm| ways(program.insns(), slot, disasm);
        let mut leaders = BTreeSet::from([0]);
        for (slot, disasm) in &insns {
            let next = slot + disasm.slots();
            let (jumps, goes_on) = ways(*slot, disasm);
            leaders.extend(jumps);
            if jumps.is_some() || !goes_on {
                leaders.insert(next);
            }
            // The first instruction of a subprogram begins a block.
            leaders.extend(disasm.subprogram().and_then(|distance| target(*slot, distance)));
        }
        leaders.retain(|slot| starts.contains(slot));
        let checks = checks(program);
        let bounds: Vec<usize> = leaders.iter().copied().chain([end]).collect();
        let blocks = bounds.windows(2).filter_map(|bounds| {
            let slots = bounds[0]..bounds[1];
            let behind = insns.partition_point(|(slot, _)| *slot < slots.end);
            let (last, disasm) = insns.get(behind.checked_sub(1)?)?;
            let (jumps, goes_on) = ways(*last, disasm);
            let check = checks.get(last).map(|check| check.name.clone());
            let mut edges = Vec::new();
            let taken = if goes_on { EdgeKind::Taken } else { EdgeKind::Always };
            edges.extend(jumps.filter(|to| leaders.contains(to)).map(|to| Edge {
                to,
                kind: taken,
                check: check.clone(),
            }));
            if goes_on && leaders.contains(&slots.end) {
                let kind = if jumps.is_some() { EdgeKind::Else } else { EdgeKind::Always };
                edges.push(Edge { to: slots.end, kind, check: check.filter(|_| jumps.is_some()) });
            }
            let labels = program.labels_at(slots.start).map(str::to_owned).collect();
            Some(Block { slots, labels, edges })
        });
        Self { blocks: blocks.collect() }
    }

    /// The blocks, in the order of their slots.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Writes the graph in the language of Graphviz: a box for each block with its instructions, an arrow for each edge, with
    /// the name of its check. `name` is that of the graph.
    pub fn write_dot(&self, program: &Program, name: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "digraph \"{}\" {{", escaped(name))?;
        writeln!(out, "    node [shape=box, fontname=monospace, fontsize=9];")?;
        writeln!(out, "    edge [fontname=sans, fontsize=8];")?;
        for block in &self.blocks {
            write!(out, "    b{} [label=\"", block.slots.start)?;
            for label in &block.labels {
                write!(out, "{}:\\l", escaped(label))?;
            }
            for (at, disasm) in disassemble(program.insns().get(block.slots.clone()).unwrap_or_default()) {
                let slot = block.slots.start + at;
                for line in program.comment(slot).into_iter().flat_map(str::lines) {
                    write!(out, "; {}\\l", escaped(line))?;
                }
                write!(out, "{slot}: {}\\l", escaped(&disasm.to_string()))?;
            }
            writeln!(out, "\"];")?;
        }
        let checks = checks(program);
        for block in &self.blocks {
            for edge in &block.edges {
                let style = match edge.kind {
                    EdgeKind::Always => "solid",
                    EdgeKind::Taken => "bold",
                    EdgeKind::Else => "dashed",
                };
                // The name stands on the way to the check's own label.
                let check = checks.get(&(block.slots.end - 1));
                let leads = |check: &&&Check| program.labels_at(edge.to).any(|label| label == check.label);
                let label = check.filter(leads).map(|check| escaped(&check.name)).unwrap_or_default();
                let start = block.slots.start;
                writeln!(out, "    b{start} -> b{} [style={style}, label=\"{label}\"];", edge.to)?;
            }
        }
        writeln!(out, "}}")
    }
}

/// Where the instruction jumps, and whether it can be followed by the next one.
fn ways(insns: &[Insn], slot: usize, disasm: &Disasm) -> (Option<usize>, bool) {
    let Some(insn) = insns.get(slot) else { return (None, false) };
    let jump = matches!(insn.code & op::CLASS_MASK, op::JMP | op::JMP32);
    let (operation, wide) = (insn.code & op::OP_MASK, insn.code & op::CLASS_MASK == op::JMP);
    match operation {
        _ if !jump => (None, true),
        op::CALL if wide => (None, true),
        op::EXIT if wide => (None, false),
        op::JA => (disasm.distance().and_then(|distance| target(slot, distance)), false),
        _ => (disasm.distance().and_then(|distance| target(slot, distance)), true),
    }
}

fn target(slot: usize, distance: i32) -> Option<usize> {
    usize::try_from(slot as i64 + 1 + i64::from(distance)).ok()
}

/// The check to which each slot belongs.
fn checks(program: &Program) -> BTreeMap<usize, &Check> {
    let mut checks = BTreeMap::new();
    checks.extend(program.checks().iter().flat_map(|check| check.slots.iter().map(move |slot| (*slot, check))));
    checks
}

/// Text between the quotes of a Graphviz string.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::Reg::*;
    use crate::asm::{Asm, Features};

    fn program(emit: impl FnOnce(&mut Asm)) -> Program {
        let mut a = Asm::with_features(Features::all());
        emit(&mut a);
        a.finish().unwrap()
    }

    /// A block: its first slot, the slot behind it, and where it leads.
    type Shape = (usize, usize, Vec<(usize, EdgeKind)>);

    fn shape(program: &Program) -> Vec<Shape> {
        let cfg = Cfg::of(program);
        let edges = |block: &Block| block.edges.iter().map(|edge| (edge.to, edge.kind)).collect();
        cfg.blocks().iter().map(|block| (block.slots.start, block.slots.end, edges(block))).collect()
    }

    #[test]
    fn blocks_end_at_jumps_and_begin_at_their_targets() {
        use EdgeKind::{Always, Else, Taken};
        let branches = program(|a| {
            a.load_imm64(R1, 1);
            a.if_else(R1.equals(0), |a| a.mov(R0, 1), |a| a.mov(R0, 2));
            a.exit();
        });
        assert_eq!(
            shape(&branches),
            [(0, 3, vec![(5, Taken), (3, Else)]), (3, 5, vec![(6, Always)]), (5, 6, vec![(6, Always)]), (6, 7, vec![])]
        );
        let looped = program(|a| {
            let top = a.here("top");
            a.add(R1, 1);
            a.jump_if(R1.below(9), top);
            a.mov(R0, 0);
            a.exit();
        });
        assert_eq!(shape(&looped), [(0, 2, vec![(0, Taken), (2, Else)]), (2, 4, vec![])]);
    }

    #[test]
    fn a_subprogram_is_a_part_of_its_own() {
        let calls = program(|a| {
            let sub = a.label("sub");
            a.call_sub(sub);
            a.mov(R0, 0);
            a.exit();
            a.bind(sub);
            a.mov(R0, 1);
            a.exit();
        });
        assert_eq!(shape(&calls), [(0, 3, vec![]), (3, 5, vec![])]);
        assert_eq!(Cfg::of(&calls).blocks()[1].labels, ["sub"]);
    }

    #[test]
    fn a_jump_out_of_the_program_has_no_edge() {
        let lost = |off| Insn { off, ..Insn::NOP };
        for off in [5, -5, i16::MAX, i16::MIN] {
            let program = Program::from_insns(vec![lost(off), lost(0)]);
            assert_eq!(Cfg::of(&program).blocks()[0].edges, [], "{off}");
        }
        assert_eq!(Cfg::of(&Program::default()).blocks(), []);
    }

    #[test]
    fn the_drawing_has_labels_checks_and_escapes() {
        let program = program(|a| {
            let out = a.label("out");
            a.comment("why \"so\"");
            a.mov(R0, 0);
            a.require(R1.any_of(1), out, "bit \\ set");
            a.mov(R0, 1);
            a.bind(out);
            a.exit();
        });
        let mut text = Vec::new();
        Cfg::of(&program).write_dot(&program, "sk_msg", &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in [
            "digraph \"sk_msg\" {",
            "; why \\\"so\\\"\\l0: (b7) r0 = 0\\l",
            "out:\\l4: (95) exit\\l",
            "b0 -> b3 [style=bold, label=\"\"];",
            "b0 -> b2 [style=dashed, label=\"\"];",
            "b2 -> b4 [style=solid, label=\"bit \\\\ set\"];",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
