//! The drain: a BPF iterator over the sockhash (Linux 5.10) that deletes the entries whose queue of redirected
//! messages is empty.
//!
//! It runs after the soft switch is off and the last verdict has been carried out, so an empty queue stays empty.
//! Entries with unread bytes are counted and left for the next pass: deleting them would lose the bytes.

use super::counters::Counter;
use super::ctx::iter_sockmap;
use super::emit::{SLOTS_END, count, number_of};
use super::kernel::Object;
use super::leave::{psock, queue};
use super::maps::MapRole;
use super::{KernelOffsets, Options, helper};
use crate::asm::Reg::{R0, R1, R2, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Program, Size};

/// Stack place of the copy of the key, at most 48 bytes.
const KEY_SLOT: i16 = SLOTS_END - 48;

pub(super) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [out, waiting, empty] = ["out", "waiting", "empty"].map(|name| a.label(name));
    a.mov(R6, R1);
    a.comment("both are null in the call that ends the iteration");
    a.load(Size::DW, R7, R6, iter_sockmap::KEY);
    a.jump(Cond::Eq, R7, 0, out);
    a.load(Size::DW, R8, R6, iter_sockmap::SK);
    a.jump(Cond::Eq, R8, 0, out);
    a.comment("the delete helper takes keys from the stack, not from the iterator's buffer");
    for word in 0..options.pairing.socket_key_size() as i16 / 8 {
        a.load(Size::DW, R1, R7, 8 * word);
        a.store(Size::DW, FP, KEY_SLOT + 8 * word, R1);
    }
    number_of(a, R9, R8, out);
    offsets.open(a, R9, Object::Sock);
    psock(a, offsets, R9, R9, out, waiting);
    queue(a, offsets, R9, waiting);
    a.jump(Cond::Eq, R1, R9, empty);
    a.bind(waiting);
    count(a, Counter::DrainWaiting, 1);
    a.goto(out);
    a.bind(empty);
    a.load_map(R1, MapRole::Sockets.map_ref());
    a.mov(R2, FP);
    a.add(R2, i32::from(KEY_SLOT));
    a.call(helper::MAP_DELETE_ELEM);
    a.jump(Cond::Ne, R0, 0, out);
    count(a, Counter::Drained, 1);
    a.bind(out);
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}
