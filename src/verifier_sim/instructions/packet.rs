//! Comparisons of packet pointers with the packet's end, and of pointers into what lies before it with its start
//! (`try_match_pkt_pointers`).

use crate::verifier_sim::numbers::condition::Cond;
use crate::verifier_sim::state::State;
use crate::verifier_sim::state::reg::{AT_PACKET_END, BEYOND_PACKET_END, Kind, Reg};

/// Packets are not longer than this (`MAX_PACKET_OFF`).
const MAX_PACKET: u64 = 0xffff;

/// A comparison of a packet pointer with the end: the pointer's register, and the condition with the pointer on the left.
fn against_end<'r>(cond: Cond, left: (u8, &'r Reg), right: (u8, &'r Reg)) -> Option<(u8, &'r Reg, Cond)> {
    let ends = |pointer: &Reg, end: &Reg| match pointer.kind {
        Kind::Packet => end.kind == Kind::PacketEnd,
        Kind::PacketMeta => end.is_packet_start(),
        _ => false,
    };
    if ends(left.1, right.1) {
        Some((left.0, left.1, cond))
    } else if ends(right.1, left.1) {
        Some((right.0, right.1, cond.swapped()))
    } else {
        None
    }
}

/// Whether a comparison with the end is decided by an earlier one of the same pointer.
pub(in crate::verifier_sim) fn predict(cond: Cond, left: &Reg, right: &Reg) -> Option<bool> {
    let (pointer, cond) = if right.kind == Kind::PacketEnd {
        (left, cond)
    } else if left.kind == Kind::PacketEnd {
        (right, cond.swapped())
    } else {
        return None;
    };
    // The end has no range of its own, so a comparison of two ends is undecided.
    if pointer.kind != Kind::Packet {
        return None;
    }
    match (pointer.range(), cond) {
        (BEYOND_PACKET_END, Cond::Le) => Some(false),
        (BEYOND_PACKET_END, Cond::Gt) => Some(true),
        (BEYOND_PACKET_END | AT_PACKET_END, Cond::Lt) => Some(false),
        (BEYOND_PACKET_END | AT_PACKET_END, Cond::Ge) => Some(true),
        _ => None,
    }
}

/// Learns how long the packet is, in the branch where a pointer into it lies before the end. `jumped` is the state in which
/// the condition holds, `fell` the one in which it does not. Says whether this was such a comparison.
pub(in crate::verifier_sim) fn learn(
    cond: Cond,
    left: (u8, &Reg),
    right: (u8, &Reg),
    jumped: &mut State,
    fell: &mut State,
) -> bool {
    let Some((number, pointer, cond)) = against_end(cond, left, right) else { return false };
    // The pointer is at the end at most in one branch, and at least there, or beyond, in the other. "Open" ranges are
    // those where the pointer is strictly before the end, so that one byte more is there.
    let (inside, outside, open) = match cond {
        Cond::Gt => (fell, jumped, false),
        Cond::Le => (jumped, fell, false),
        Cond::Lt => (jumped, fell, true),
        Cond::Ge => (fell, jumped, true),
        _ => return false,
    };
    extend_ranges(inside, pointer, open);
    let marked = &mut outside.top_mut().regs[usize::from(number)];
    if marked.kind == Kind::Packet {
        marked.arg = if open { AT_PACKET_END } else { BEYOND_PACKET_END } as u32;
    }
    true
}

/// Gives all pointers with the same variable part the knowledge that `pointer` is before the end.
fn extend_ranges(state: &mut State, pointer: &Reg, open: bool) {
    if pointer.off < 0 || (pointer.off == 0 && open) {
        return;
    }
    let reach = pointer.val.umax;
    if reach > MAX_PACKET || reach.wrapping_add(pointer.off as u64) > MAX_PACKET {
        return;
    }
    let range = pointer.off + i32::from(open);
    state.for_each_reg(
        |reg| reg.kind == pointer.kind && reg.id == pointer.id,
        |reg| reg.arg = reg.range().max(range) as u32,
    );
}
