//! Registers and stack slots as the kernel's log prints them (`print_verifier_state`).

use std::fmt::Write as _;

use crate::uapi::helper::DynptrKind;
use crate::verifier_sim::numbers::bounds::Bounds;
use crate::verifier_sim::numbers::tnum::Tnum;
use crate::verifier_sim::state::State;
use crate::verifier_sim::state::reg::{ADD_CONST, Kind, Reg, object_from_number};
use crate::verifier_sim::state::stack::{Byte, SLOT_SIZE, Slot, iterator};
use crate::verifier_sim::types::{own_id, structure_id};
use crate::verifier_sim::walk::env::Env;
use crate::verifier_sim::walk::precision::Mask;

/// Which registers and slots are printed, as bits.
#[derive(Clone, Copy)]
pub(in crate::verifier_sim) struct Shown {
    pub(in crate::verifier_sim) regs: u16,
    pub(in crate::verifier_sim) slots: u64,
}

impl Shown {
    pub(in crate::verifier_sim) const ALL: Self = Self { regs: u16::MAX, slots: u64::MAX };
}

/// Numbers of at most 16 bits are decimal, larger ones hexadecimal.
fn unsigned(number: u64) -> String {
    if number <= u16::MAX.into() { number.to_string() } else { format!("{number:#x}") }
}

fn is_short(number: i64) -> bool {
    i16::try_from(number).is_ok()
}

fn signed(number: i64) -> String {
    if is_short(number) { number.to_string() } else { format!("{number:#x}") }
}

/// The ranges that say something; those with the same number share it (`print_scalar_ranges`).
fn ranges(val: &Bounds, parts: &mut Vec<String>) {
    // Short ones have a sign, the others only their own bits.
    let low = |number: i32| if is_short(number.into()) { i64::from(number) as u64 } else { u64::from(number as u32) };
    let all = [
        ("smin", val.smin as u64, val.smin == i64::MIN),
        ("smax", val.smax as u64, val.smax == i64::MAX),
        ("umin", val.umin, val.umin == 0),
        ("umax", val.umax, val.umax == u64::MAX),
        ("smin32", low(val.smin32), val.smin32 == i32::MIN),
        ("smax32", low(val.smax32), val.smax32 == i32::MAX),
        ("umin32", u64::from(val.umin32), val.umin32 == 0),
        ("umax32", u64::from(val.umax32), val.umax32 == u32::MAX),
    ];
    let negative = |name: &str, number: u64| name.starts_with('s') && (number as i64) < 0;
    let mut done = all.map(|(_, _, says_nothing)| says_nothing);
    for first in 0..all.len() {
        let (name, number, _) = all[first];
        if done[first] {
            continue;
        }
        let mut part = format!("{name}=");
        for other in (first + 2..all.len()).step_by(2) {
            let (alias, same, _) = all[other];
            if !done[other] && same == number && negative(alias, same) == negative(name, number) {
                done[other] = true;
                let _ = write!(part, "{alias}=");
            }
        }
        part.push_str(&if name.starts_with('s') { signed(number as i64) } else { unsigned(number) });
        parts.push(part);
    }
}

impl Env<'_> {
    /// The initialised registers and slots of one frame, of those that are `shown`; `precise` are those whose numbers have
    /// decided something.
    pub(in crate::verifier_sim) fn describe_frame(
        &self,
        state: &State,
        number: usize,
        shown: Shown,
        precise: Option<Mask>,
    ) -> String {
        let Some(frame) = state.frames.get(number) else { return String::new() };
        let precise = precise.unwrap_or_default();
        let mut text = String::new();
        if number > 0 {
            let _ = write!(text, " frame{number}:");
        }
        for (index, reg) in frame.regs.iter().enumerate() {
            if reg.kind != Kind::NotInit && shown.regs & 1 << index != 0 {
                let sign = if precise.regs & 1 << index != 0 && reg.is_scalar() { "P" } else { "" };
                let _ = write!(text, " R{index}={sign}{}", self.describe_in(reg, number));
            }
        }
        let mut index = 0;
        while index < frame.stack.len() {
            let slot = frame.slot(index);
            let wanted = shown.slots & 1 << index != 0 && slot.bytes.iter().any(|byte| *byte != Byte::Invalid);
            // Of an iterator only the slot that has its reference is shown.
            if wanted && !(slot.is_iterator() && slot.reg.ref_id == 0) {
                if slot.bytes[0] == Byte::Dynptr {
                    // Both halves together, at the lower address.
                    index += 1;
                }
                let off = (index + 1) * SLOT_SIZE;
                let precise = precise.slots & 1 << index != 0;
                let _ = write!(text, " fp-{off}={}", self.describe_slot(frame.slot(index), number, precise));
            }
            index += 1;
        }
        let held = state.refs.iter().map(|held| held.id).chain(state.lock.map(|lock| lock.id));
        let held: Vec<u32> = held.collect();
        if held.first().is_some_and(|first| *first != 0) {
            let held = held.iter().filter(|id| **id != 0).map(u32::to_string).collect::<Vec<_>>();
            let _ = write!(text, " refs={}", held.join(","));
        }
        if frame.in_callback {
            text.push_str(" cb");
        }
        text
    }

    fn describe_slot(&self, slot: &Slot, frame: usize, precise: bool) -> String {
        let kinds = slot.bytes.iter().map(|byte| match byte {
            Byte::Invalid => '?',
            Byte::Spill => 'r',
            Byte::Misc => 'm',
            Byte::Zero => '0',
            Byte::Dynptr => 'd',
            Byte::Iterator => 'i',
        });
        match slot.bytes[SLOT_SIZE - 1] {
            Byte::Spill => {
                let above: String = kinds.take_while(|kind| *kind != 'r').collect();
                let sign = if precise && slot.reg.is_scalar() { "P" } else { "" };
                format!("{above}{sign}{}", self.describe_in(&slot.reg, frame))
            }
            Byte::Iterator => {
                let name = self.structure_name(slot.reg.arg).replacen("bpf_", "", 1);
                let state = if slot.reg.off == iterator::ACTIVE { "active" } else { "drained" };
                format!("{name}(ref_id={},state={state},depth={})", slot.reg.ref_id, slot.reg.map_uid)
            }
            Byte::Dynptr => {
                let kind = DynptrKind::from_number(slot.reg.arg).map_or("", DynptrKind::name);
                let ids = [("id", slot.reg.id), ("ref_id", slot.reg.ref_id)];
                let ids = ids.iter().filter(|(_, id)| *id != 0).map(|(name, id)| format!("{name}={id}"));
                format!("dynptr_{kind}({})", ids.collect::<Vec<_>>().join(","))
            }
            _ => kinds.collect(),
        }
    }

    /// A register of the current frame (`print_reg_state`).
    pub(in crate::verifier_sim) fn describe(&self, reg: &Reg) -> String {
        self.describe_in(reg, self.cur.depth())
    }

    /// A register of frame `frame`.
    fn describe_in(&self, reg: &Reg, frame: usize) -> String {
        let val = &reg.val;
        if reg.is_scalar() && val.bits.is_known() {
            return signed(val.bits.value as i64);
        }
        let mut name = self.structure_label(reg);
        if reg.kind == Kind::Stack {
            if reg.arg as usize != frame {
                let _ = write!(name, "[{}]", reg.arg);
            }
            if val.bits.is_known() {
                return format!("{name}{}", signed(i64::from(reg.off).wrapping_add(val.bits.value as i64)));
            }
        }
        let mut parts: Vec<String> = Vec::new();
        if reg.id != 0 {
            let plus = if reg.id & ADD_CONST != 0 { format!("{:+}", reg.off) } else { String::new() };
            parts.push(format!("id={}{plus}", reg.id & !ADD_CONST));
        }
        if reg.ref_id != 0 {
            parts.push(format!("ref_obj_id={}", reg.ref_id));
        }
        if reg.is_non_owning() {
            parts.push("non_own_ref".to_owned());
        }
        if matches!(reg.kind, Kind::ConstMapPtr | Kind::MapKey | Kind::MapValue) {
            let map = self.map(reg.arg).spec;
            if !map.name.is_empty() {
                parts.push(format!("map={}", map.name));
            }
            parts.push(format!("ks={},vs={}", map.key_size, map.value_size));
        }
        if !reg.is_scalar() && reg.off != 0 {
            parts.push(format!("off={}", signed(reg.off.into())));
        }
        match reg.kind {
            Kind::Packet | Kind::PacketMeta => parts.push(format!("r={}", unsigned(i64::from(reg.range()) as u64))),
            Kind::Mem => parts.push(format!("sz={}", unsigned(reg.arg.into()))),
            _ => {}
        }
        if !val.bits.is_known() {
            ranges(val, &mut parts);
            if val.bits != Tnum::UNKNOWN {
                parts.push(format!("var_off={}", val.bits));
            }
        } else if val.bits.value != 0 {
            parts.push(format!("imm={}", signed(val.bits.value as i64)));
        }
        format!("{name}({})", parts.join(","))
    }

    /// The type of a register, with the name of the structure that it points to.
    pub(in crate::verifier_sim) fn structure_label(&self, reg: &Reg) -> String {
        let mut name = reg.type_name();
        if reg.kind == Kind::BtfId {
            name.push_str(&self.structure_name(reg.arg));
        }
        name
    }

    /// The name of the structure with this number.
    pub(in crate::verifier_sim) fn structure_name(&self, number: u32) -> String {
        if let Some(known) = object_from_number(number) {
            return known.name().to_owned();
        }
        if let (Some(id), Some(own)) = (own_id(number), self.own) {
            return String::from_utf8_lossy(own.types().name(id)).into_owned();
        }
        let named = self.types.and_then(|types| Some(types.name(structure_id(types, number)?)));
        named.map_or_else(|| "?".to_owned(), |name| String::from_utf8_lossy(name).into_owned())
    }
}
