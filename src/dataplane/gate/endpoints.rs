//! What both ends must be like for nobody to be able to tell: non-blocking, and without socket options that
//! redirected bytes pass by.
//!
//! An end that is otherwise makes the pair leave the sockhash: membership alone is enough to be noticed.

use crate::asm::Reg::{self, R1, R3, R7, R8, R9};
use crate::asm::{Asm, Cond, Label, Size};
use crate::dataplane::emit::set_flags;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::fionread;
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::options::{Options, Readers};
use crate::dataplane::state::{Config, Counter, MapRole, socket};
use crate::uapi::net;

/// In the gate: goes on when both ends are as they must be. R7 is our storage, R8 the peer; uses R9.
///
/// Where a look costs a helper call, it is taken until the first message is redirected, and then no more.
pub(in crate::dataplane) fn require(a: &mut Asm, options: &Options, offsets: &KernelOffsets, exits: &mut Exits) {
    let [known, leave] = ["ends_known", "leave_for_option"].map(|name| a.label(name));
    let stale = exits.to(a, Counter::PassStale);
    let once = offsets.casts.is_none();
    if once {
        a.load(Size::W, R1, R7, socket::FLAGS);
        a.jump(Cond::Set, R1, socket::ENDS_OK, known);
    }
    a.load(Size::DW, R9, R7, socket::OWN_SK);
    offsets.open(a, R9, Object::Sock);
    require_options(a, offsets, R9, offsets.options.sender, leave, stale);
    require_options(a, offsets, R8, offsets.options.receiver, leave, stale);
    a.comment("SO_PEEK_OFF: -1 unless the receiver has asked for it");
    offsets.read(a, R1, Size::W, R8, offsets.peek_off, stale);
    a.jump32(Cond::Sge, R1, 0, leave);
    let plain = a.label("plain_options");
    a.goto(plain);
    a.bind(leave);
    set_flags(a, socket::UNENROLLING);
    let pass_option = exits.to(a, Counter::PassOption);
    a.goto(pass_option);
    a.bind(plain);
    if options.readers == Readers::NonBlocking {
        readers(a, offsets, known, exits);
        if let Some(epoll) = &offsets.epoll {
            fionread::require_no_asker(a, offsets, epoll, leave, exits);
        }
    }
    if once {
        set_flags(a, socket::ENDS_OK);
    }
    a.bind(known);
}

/// Both files must be O_NONBLOCK; R8 is the peer, R9 we.
fn readers(a: &mut Asm, offsets: &KernelOffsets, unaccepted_too: Label, exits: &mut Exits) {
    let [blocking, no_file, both] = ["reader_blocks", "not_accepted", "both_nonblocking"].map(|name| a.label(name));
    let stale = exits.to(a, Counter::PassStale);
    let unaccepted = exits.to(a, Counter::PassUnaccepted);
    let pass_blocking = exits.to(a, Counter::PassBlocking);
    file_is_nonblocking(a, offsets, R9, "sender_nonblocking", [stale, blocking, stale]);
    file_is_nonblocking(a, offsets, R8, "receiver_nonblocking", [no_file, blocking, stale]);
    a.goto(both);
    a.bind(blocking);
    set_flags(a, socket::UNENROLLING);
    a.goto(pass_blocking);
    a.bind(no_file);
    a.comment("nobody knows yet how it will be read");
    a.load_map_value(R1, MapRole::Config.map_ref(), Config::REDIRECT_UNACCEPTED as u32);
    a.load(Size::W, R1, R1, 0);
    a.jump(Cond::Eq, R1, 0, unaccepted);
    a.goto(unaccepted_too);
    a.bind(both);
}

/// In the gate: goes on when the peer (R8) does not block. It comes after the peer has been seen to have read all our
/// stack bytes: whoever blocks in that call has cleared O_NONBLOCK before.
pub(in crate::dataplane) fn require_nonblocking_receiver(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
    let [blocking, fine] = ["sleeps_in_recv", "nobody_sleeps"].map(|name| a.label(name));
    let stale = exits.to(a, Counter::PassStale);
    let pass_blocking = exits.to(a, Counter::PassBlocking);
    file_is_nonblocking(a, offsets, R8, "awake_nonblocking", [fine, blocking, stale]);
    a.goto(fine);
    a.bind(blocking);
    set_flags(a, socket::UNENROLLING);
    a.goto(pass_blocking);
    a.bind(fine);
}

/// Goes on when none of the options in `bits` is set on the socket at `sk` (R8 or R9, opened), else to `set`.
pub(in crate::dataplane) fn require_options(
    a: &mut Asm,
    offsets: &KernelOffsets,
    sk: Reg,
    bits: u32,
    set: Label,
    fail: Label,
) {
    if bits != 0 {
        offsets.read(a, R1, Size::DW, sk, offsets.sk_flags, fail);
        a.jump(Cond::Set, R1, bits as i32, set);
    }
}

/// Falls through, at a label with this name, when the file of the socket at `sk` (R8 or R9, opened) is O_NONBLOCK.
pub(in crate::dataplane) fn file_is_nonblocking(
    a: &mut Asm,
    offsets: &KernelOffsets,
    sk: Reg,
    name: &'static str,
    [no_file, blocking, fail]: [Label; 3],
) {
    offsets.read(a, R3, Size::DW, sk, offsets.socket, fail);
    a.jump(Cond::Eq, R3, 0, no_file);
    offsets.read(a, R3, Size::DW, R3, offsets.file, fail);
    a.jump(Cond::Eq, R3, 0, no_file);
    offsets.read(a, R1, Size::W, R3, offsets.f_flags, fail);
    let nonblocking = a.label(name);
    a.jump(Cond::Set, R1, net::O_NONBLOCK, nonblocking);
    a.goto(blocking);
    a.bind(nonblocking);
}
