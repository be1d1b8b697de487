//! The process that runs, in the programs that watch readers.

use crate::asm::Reg::{self, R0, R1, R2, R3, R4, R9};
use crate::asm::{Asm, FP, Label, Size, Uses};
use crate::dataplane::kernel::TraceOffsets;
use crate::dataplane::state::reader::{EVENT_SIZE, KEY_SIZE, NAME, RECORD_SIZE, STATE, event};
use crate::dataplane::state::{MapRole, reader};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

/// Stack bytes that [`probe`] reads into; what the idioms of other programs use.
pub(in crate::dataplane) const PROBE_SLOT: i16 = -24;
/// First stack byte that the idioms leave alone.
const SLOTS_END: i16 = -32;
/// Stack place of an event; what belongs into it is written there at once.
pub(in crate::dataplane) const EVENT_SLOT: i16 = SLOTS_END - EVENT_SIZE;
/// Stack place of the process's key.
const KEY_SLOT: i16 = EVENT_SLOT - KEY_SIZE;
/// Stack place of a new record.
const RECORD_SLOT: i16 = KEY_SLOT - RECORD_SIZE;
/// Stack place of what a program keeps.
pub(in crate::dataplane) const OWN_SLOT: i16 = RECORD_SLOT - 8;
/// Bytes of a name, `TASK_COMM_LEN` of include/linux/sched.h.
const NAME_SIZE: i32 = 16;

/// R0 = the record of the process that runs, or null; goes to `fail` when its number cannot be read. Keeps R6 to R9.
#[track_caller]
pub(in crate::dataplane) fn lookup(a: &mut Asm, offsets: &TraceOffsets, fail: Label) {
    a.idiom("lookup", Uses::scratch().gives(R0), |a| {
        a.call(helper::GET_CURRENT_PID_TGID);
        a.rsh(R0, 32);
        a.store(Size::W, FP, KEY_SLOT, R0);
        a.store(Size::W, FP, KEY_SLOT + 4, 0);
        a.store(Size::W, FP, EVENT_SLOT + event::KEY, R0);
        a.call(helper::GET_CURRENT_TASK);
        probe(a, R1, Size::DW, R0, offsets.group_leader, fail);
        probe(a, R1, Size::DW, R1, offsets.start, fail);
        a.store(Size::DW, FP, KEY_SLOT + 8, R1);
        a.store(Size::DW, FP, EVENT_SLOT + event::KEY + 4, R1);
        a.mov(R2, FP);
        a.add(R2, i32::from(KEY_SLOT));
        a.load_map(R1, MapRole::Readers.map_ref());
        a.call(helper::MAP_LOOKUP_ELEM);
    });
}

/// Enters a record in `state` of the process that [`lookup`] did not find, and notifies the agent of it as `kind`.
#[track_caller]
pub(in crate::dataplane) fn enter(a: &mut Asm, state: i32, kind: i32) {
    a.idiom("enter", Uses::scratch(), |a| {
        a.block("process_entered", |a, done| {
            for word in (0..RECORD_SIZE).step_by(8) {
                a.store(Size::DW, FP, RECORD_SLOT + word, 0);
            }
            a.store(Size::W, FP, RECORD_SLOT + STATE, state);
            a.mov(R1, FP);
            a.add(R1, i32::from(RECORD_SLOT + NAME));
            a.mov(R2, NAME_SIZE);
            a.call(helper::GET_CURRENT_COMM);
            a.mov(R2, FP);
            a.add(R2, i32::from(KEY_SLOT));
            a.mov(R3, FP);
            a.add(R3, i32::from(RECORD_SLOT));
            a.load_map(R1, MapRole::Readers.map_ref());
            a.mov(R4, flags::NOEXIST);
            a.call(helper::MAP_UPDATE_ELEM);
            a.require(R0.equals(0), done, "no other thread of it was first");
            notify(a, kind);
        });
    });
}

/// Makes a splicer of the process whose record is in R9, and notifies the agent of it.
#[track_caller]
pub(in crate::dataplane) fn make_splicer(a: &mut Asm) {
    a.idiom("make_splicer", Uses::scratch().reads(R9), |a| {
        a.store(Size::W, R9, STATE, reader::SPLICER);
        notify(a, event::SPLICES);
    });
}

/// Writes the descriptor that the present system call is about to this place of the stack. One of io_uring's has another
/// meaning.
#[track_caller]
pub(in crate::dataplane) fn descriptor_of_call(a: &mut Asm, offsets: &TraceOffsets, place: i16) {
    a.idiom("descriptor", Uses::scratch(), |a| {
        a.call(helper::GET_CURRENT_TASK_BTF);
        a.mov(R1, R0);
        a.call(helper::TASK_PT_REGS);
        a.load(Size::DW, R1, R0, offsets.di as i16);
        a.mov32(R1, R1);
        a.store(Size::DW, FP, place, R1);
    });
}

/// Sends the event of the process that [`lookup`] has looked for; those about a socket have its fields written before. R0 is
/// 0 when there was room for it.
#[track_caller]
pub(in crate::dataplane) fn notify(a: &mut Asm, kind: i32) {
    a.idiom("notify", Uses::scratch().gives(R0), |a| {
        a.store(Size::W, FP, EVENT_SLOT + event::KIND, kind);
        a.mov(R1, FP);
        a.add(R1, i32::from(EVENT_SLOT + event::NAME));
        a.mov(R2, NAME_SIZE);
        a.call(helper::GET_CURRENT_COMM);
        if ![event::LOSES, event::JOINS].contains(&kind) {
            for word in (event::COOKIE..EVENT_SIZE).step_by(8) {
                a.store(Size::DW, FP, EVENT_SLOT + word, 0);
            }
        }
        a.mov(R2, FP);
        a.add(R2, i32::from(EVENT_SLOT));
        a.load_map(R1, MapRole::Events.map_ref());
        a.mov(R3, i32::from(EVENT_SIZE));
        a.mov(R4, 0);
        a.call(helper::RINGBUF_OUTPUT);
    });
}

/// `dst` = the number of this size at `base + offset` in kernel memory, or a jump to `fail`. `base` holds an address.
#[track_caller]
pub(in crate::dataplane) fn probe(a: &mut Asm, dst: Reg, size: Size, base: Reg, offset: u16, fail: Label) {
    a.idiom("probe", Uses::scratch().reads(base).gives(dst), |a| {
        probe_bytes(a, size.bytes() as i32, base, offset, fail);
        a.load(size, dst, FP, PROBE_SLOT);
    });
}

/// Copies `bytes` (at most 24) of kernel memory at `base + offset` to [`PROBE_SLOT`], or jumps to `fail`.
#[track_caller]
pub(in crate::dataplane) fn probe_bytes(a: &mut Asm, bytes: i32, base: Reg, offset: u16, fail: Label) {
    a.idiom("copy", Uses::scratch().reads(base), |a| {
        a.mov(R3, base);
        if offset != 0 {
            a.add(R3, i32::from(offset));
        }
        a.mov(R1, FP);
        a.add(R1, i32::from(PROBE_SLOT));
        a.mov(R2, bytes);
        a.call(helper::PROBE_READ_KERNEL);
        a.require(R0.equals(0), fail, "there is memory");
    });
}
