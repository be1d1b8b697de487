//! Loops of the program (strongly connected components), and which of them the walk is in.

use crate::asm::Insn;
use crate::verifier_sim::program::successors;
use crate::verifier_sim::state::State;
use crate::verifier_sim::walk::env::Env;

/// The loop of each instruction, and those that are being walked.
#[derive(Debug, Default)]
pub(in crate::verifier_sim) struct Loops {
    /// By instruction; 0 is none.
    numbers: Vec<u32>,
    /// The calls that led to a loop with its number, and the checkpoint at which it was entered.
    entered: Vec<(Vec<usize>, u32)>,
}

/// In place of the lowest number that an instruction reaches, once its loop is complete.
const COMPLETE: u32 = u32::MAX;

/// Successors in the kernel's order.
fn following(insns: &[Insn], at: usize) -> impl Iterator<Item = usize> + use<> {
    let end = insns.len();
    successors(insns, at, false).into_iter().flatten().filter(move |next| *next < end)
}

impl Loops {
    /// Numbers the loops in the kernel's order (Tarjan's algorithm without recursion, `compute_scc`).
    pub(in crate::verifier_sim) fn find(insns: &[Insn]) -> Self {
        let mut numbers = vec![0; insns.len()];
        let (mut order, mut lowest) = (vec![0u32; insns.len()], vec![0u32; insns.len()]);
        let (mut next_order, mut next_loop) = (1, 1);
        let (mut open, mut path): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for root in 0..insns.len() {
            if order[root] != 0 {
                continue;
            }
            path.push(root);
            while let Some(&at) = path.last() {
                if order[at] == 0 {
                    (order[at], lowest[at]) = (next_order, next_order);
                    next_order += 1;
                    open.push(at);
                }
                let mut unseen = None;
                for next in following(insns, at) {
                    if order[next] == 0 {
                        unseen = Some(next);
                        break;
                    }
                    lowest[at] = lowest[at].min(lowest[next]);
                }
                if let Some(next) = unseen {
                    path.push(next);
                    continue;
                }
                path.pop();
                if lowest[at] < order[at] {
                    continue;
                }
                let is_loop = open.last() != Some(&at) || following(insns, at).any(|next| next == at);
                while let Some(member) = open.pop() {
                    lowest[member] = COMPLETE;
                    numbers[member] = if is_loop { next_loop } else { 0 };
                    if member == at {
                        break;
                    }
                }
                next_loop += u32::from(is_loop);
            }
        }
        Self { numbers, entered: Vec::new() }
    }

    /// The loop of an instruction, 0 if it is in none.
    pub(in crate::verifier_sim) fn number(&self, at: usize) -> u32 {
        self.numbers.get(at).copied().unwrap_or(0)
    }

    /// The outermost loop that a state at `insn` is in, behind the calls that lead to it.
    fn chain(&self, state: &State, insn: usize) -> Option<Vec<usize>> {
        let mut chain = Vec::new();
        for frame in 0..state.frames.len() {
            let at = state.frames.get(frame + 1).map_or(insn, |callee| callee.callsite);
            let number = self.number(at);
            if number != 0 {
                chain.push(number as usize);
                return Some(chain);
            }
            chain.push(at);
        }
        None
    }
}

fn describe(chain: &[usize]) -> String {
    let numbers: Vec<_> = chain.iter().map(usize::to_string).collect();
    format!("({})", numbers.join(","))
}

impl Env<'_> {
    /// Checkpoint `number` was made at the current instruction.
    pub(in crate::verifier_sim) fn log_checkpoint_made(&mut self, number: u32) {
        let Some(log) = &mut self.log else { return };
        let Some(chain) = log.loops.chain(&self.cur, self.at) else { return };
        if !log.loops.entered.iter().any(|(known, _)| *known == chain) {
            let line = format!("SCC enter {}", describe(&chain));
            log.loops.entered.push((chain, number));
            self.log_line(&line);
        }
    }

    /// All paths from checkpoint `number` are finished.
    pub(in crate::verifier_sim) fn log_checkpoint_done(&mut self, number: u32) {
        let Some(log) = &mut self.log else { return };
        if let Some(place) = log.loops.entered.iter().position(|(_, entry)| *entry == number) {
            let (chain, _) = log.loops.entered.remove(place);
            self.log_line(&format!("SCC exit {}", describe(&chain)));
        }
    }
}
