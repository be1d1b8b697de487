//! The process that runs, in the programs that watch readers.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R9};
use crate::asm::{Asm, Base, Label, Ptr, Slot, Uses};
use crate::dataplane::kernel::TraceOffsets;
use crate::dataplane::kernel::objects::{Registers, Task};
use crate::dataplane::kernel::probe::probe;
use crate::dataplane::state::MapRole;
use crate::dataplane::state::reader::{self, Event, Key, Record, event};
use crate::uapi::flags;
use crate::uapi::helper::id as helper;

/// The record of the process, once it has been found.
pub(in crate::dataplane) const RECORD: Ptr<Record> = Ptr::new(R9);

/// What a program keeps of the process that runs, on its stack.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Process {
    /// What the agent is notified of; each part is written where it becomes known.
    pub(in crate::dataplane) event: Slot<Event>,
    key: Slot<Key>,
}

impl Process {
    /// Takes its stack slots, until the frame ends in which this is called.
    pub(in crate::dataplane) fn new(a: &mut Asm) -> Self {
        Self { event: a.slot("event"), key: a.slot("key") }
    }

    /// R0 = the record of the process that runs, or null; goes to `fail` when its number cannot be read. Keeps R6 to R9.
    #[track_caller]
    pub(in crate::dataplane) fn lookup(&self, a: &mut Asm, offsets: &TraceOffsets, fail: Label) {
        a.idiom("lookup", Uses::scratch().gives(R0), |a| {
            a.call(helper::GET_CURRENT_PID_TGID);
            a.rsh(R0, 32);
            a.st(self.key, Key::PROCESS, R0);
            a.st(self.key, Key::ZERO, 0);
            a.st(self.event, Event::PROCESS, R0);
            a.call(helper::GET_CURRENT_TASK);
            probe(a, R1, Ptr::<Task>::new(R0), offsets.group_leader, fail);
            probe(a, R1, Ptr::<Task>::new(R1), offsets.start, fail);
            a.st(self.key, Key::START, R1);
            a.st(self.event, Event::START, R1);
            a.addr(R2, self.key);
            a.load_map(R1, MapRole::Readers.map_ref());
            a.call(helper::MAP_LOOKUP_ELEM);
        });
    }

    /// Enters a record in `state` of the process that [`Process::lookup`] did not find, and notifies the agent of it as
    /// `kind`.
    #[track_caller]
    pub(in crate::dataplane) fn enter(&self, a: &mut Asm, state: i32, kind: i32) {
        a.idiom("enter", Uses::scratch(), |a| {
            a.block("process_entered", |a, done| {
                let record = a.slot::<Record>("record");
                for word in Record::all() {
                    a.st(record, word, 0);
                }
                a.st(record, Record::STATE, state);
                a.addr(R1, record.at(Record::NAME));
                a.mov(R2, Record::NAME.bytes() as i32);
                a.call(helper::GET_CURRENT_COMM);
                a.addr(R2, self.key);
                a.addr(R3, record);
                a.load_map(R1, MapRole::Readers.map_ref());
                a.mov(R4, flags::NOEXIST);
                a.call(helper::MAP_UPDATE_ELEM);
                a.require(R0.equals(0), done, "no other thread of it was first");
                self.notify(a, kind);
            });
        });
    }

    /// Makes a splicer of the process whose record is in [`RECORD`], and notifies the agent of it.
    #[track_caller]
    pub(in crate::dataplane) fn make_splicer(&self, a: &mut Asm) {
        a.idiom("make_splicer", Uses::scratch().reads(RECORD.reg()), |a| {
            a.st(RECORD, Record::STATE, reader::SPLICER);
            self.notify(a, event::SPLICES);
        });
    }

    /// Sends the event of the process that [`Process::lookup`] has looked for; those about a socket have its fields written
    /// before. R0 is 0 when there was room for it.
    #[track_caller]
    pub(in crate::dataplane) fn notify(&self, a: &mut Asm, kind: i32) {
        a.idiom("notify", Uses::scratch().gives(R0), |a| {
            a.st(self.event, Event::KIND, kind);
            a.addr(R1, self.event.at(Event::NAME));
            a.mov(R2, Event::NAME.bytes() as i32);
            a.call(helper::GET_CURRENT_COMM);
            if ![event::LOSES, event::JOINS].contains(&kind) {
                for word in Event::of_socket() {
                    a.st(self.event, word, 0);
                }
            }
            a.addr(R2, self.event);
            a.load_map(R1, MapRole::Events.map_ref());
            a.mov(R3, Event::SIZE as i32);
            a.mov(R4, 0);
            a.call(helper::RINGBUF_OUTPUT);
        });
    }
}

/// Writes the descriptor that the present system call is about to this place of the stack. One of io_uring's has another
/// meaning.
#[track_caller]
pub(in crate::dataplane) fn descriptor_of_call(a: &mut Asm, offsets: &TraceOffsets, place: impl Base<Object = u64>) {
    a.idiom("descriptor", Uses::scratch(), |a| {
        a.call(helper::GET_CURRENT_TASK_BTF);
        a.mov(R1, R0);
        a.call(helper::TASK_PT_REGS);
        a.ld(R1, Ptr::<Registers>::new(R0), offsets.argument);
        a.mov32(R1, R1);
        a.set(place, R1);
    });
}
