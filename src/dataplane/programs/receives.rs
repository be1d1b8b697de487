//! What sees a socket's data received by recvmsg: how a reader earns its trust.
//!
//! Three things must come together before redirected bytes are sent to a socket. Data has been received there often enough
//! that a proxy which splices would have begun to. The process has received often enough on such connections, and has never
//! spliced. And the bytes in a row are no more than the most that it has received so: a program that splices long bodies,
//! and only these, gets them by the stack.
//!
//! All of this is written into the receiver's own storage, where `gate::reader` finds it.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{self, Asm, Cond, FP, Label, Program, Ptr, Size};
use crate::dataplane::emit::{set_flags, storage_get};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{CONNECTION_RECEIVES, Hooks, Options, PROGRAM_RECEIVES, STREAM_BYTES, Watch};
use crate::dataplane::programs::process::{self, EVENT_SLOT};
use crate::dataplane::state::MapRole;
use crate::dataplane::state::reader::{self, EVENT_SIZE, Splices, event};
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// `MSG_OOB`, `MSG_TRUNC` and `MSG_WAITALL`, include/linux/socket.h: redirected bytes do not support them.
const NEVER_WITH: i32 = 1 | 0x20 | 0x100;
/// `MSG_PEEK`: what is seen is not taken, and how it will be is not known.
const PEEK: i32 = 2;

/// Receives after which the agent is asked once more to let the socket join; a power of 2.
const ASK_AGAIN: i32 = 256;

pub(in crate::dataplane) fn build(
    options: &Options,
    offsets: &KernelOffsets,
    watch: &Watch,
) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let [out, peeks, never, known, look, open] =
        ["out", "peeks", "never", "splicers_known", "look_up_process", "open"].map(|name| a.label(name));
    let (flags, result) = match watch.hooks {
        Hooks::Functions { flags, arguments } => (flags, arguments),
        // include/trace/events/sock.h: the socket, the result, the flags.
        Hooks::TracePoints | Hooks::Mixed => (2, 1),
    };
    a.mov(R6, R1);
    a.load(Size::DW, R8, R6, i16::from(result) * 8);
    a.jump32(Cond::Sle, R8, 0, out);
    a.mov32(R8, R8);
    a.load(Size::DW, R9, R6, i16::from(flags) * 8);
    a.load(Size::DW, R7, R6, 0);
    storage_get(a, R7, false);
    a.jump(Cond::Eq, R0, 0, out);
    a.mov(R7, R0);
    a.ld(R1, OWN, Head::STATE);
    a.jump(Cond::Ne, R1, socket::PAIRED, out);
    a.jump(Cond::Set, R9, PEEK, peeks);
    a.jump(Cond::Set, R9, NEVER_WITH, never);
    count(a, offsets, out);

    a.load_map_value(R1, MapRole::Splices.map_ref(), 0);
    a.ld(R1, Ptr::<Splices>::new(R1), Splices::PROCESSES);
    a.ld(R2, OWN, Socket::SPLICERS);
    a.jump(Cond::Eq, R1, R2, known);
    a.st(OWN, Socket::SPLICERS, R1);
    a.goto(look);
    a.bind(known);
    a.ld(R1, OWN, Head::READER);
    a.jump(Cond::Eq, R1, socket::NEVER, out);
    a.block("not_yet_asked", |a, unasked| {
        if options.joins_later() {
            a.comment("the agent is asked again now and then: it may have been another one");
            a.ld(R2, OWN, Head::FLAGS);
            a.and(R2, socket::JOINS);
            a.jump(Cond::Eq, R2, 0, unasked);
            a.ld(R2, OWN, Socket::RECEIVES);
            a.and(R2, ASK_AGAIN - 1);
            a.jump(Cond::Eq, R2, 0, unasked);
        }
        a.jump32(Cond::Ge, R1, R3, out);
    });
    a.ld(R1, OWN, Socket::RECEIVES);
    a.jump(Cond::Lt, R1, CONNECTION_RECEIVES, out);
    a.bind(look);
    of_process(a, watch, [never, open, out]);

    a.bind(open);
    a.comment("R2 is what the process is trusted with");
    a.st(OWN, Head::READER, R2);
    if options.joins_later() {
        ask_to_join(a, watch, out);
    }
    a.goto(out);
    a.bind(peeks);
    a.ld(R1, OWN, Head::READER);
    a.jump(Cond::Eq, R1, socket::NEVER, out);
    a.comment("the next receive opens it again");
    a.st(OWN, Head::READER, 0);
    a.goto(out);
    a.bind(never);
    a.st(OWN, Head::READER, socket::NEVER);
    a.bind(out);
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// Tells the agent that the socket may join the sockhash.
fn ask_to_join(a: &mut Asm, watch: &Watch, out: Label) {
    for word in (event::COOKIE..EVENT_SIZE).step_by(8) {
        a.store(Size::DW, FP, EVENT_SLOT + word, 0);
    }
    for (cookie, place) in [(Socket::HEAD.then(Head::COOKIE), event::COOKIE), (Socket::PEER_COOKIE, event::PEER_COOKIE)]
    {
        a.ld(R1, OWN, cookie);
        a.store(Size::DW, FP, EVENT_SLOT + place, R1);
    }
    process::descriptor_of_call(a, &watch.offsets, EVENT_SLOT + event::DESCRIPTOR);
    process::tell(a, event::JOINS);
    a.jump(Cond::Ne, R0, 0, out);
    set_flags(a, socket::JOINS);
}

/// Counts the receive of R8 bytes, and notes how far the stack has been read; R3 = the bytes received in a row.
fn count(a: &mut Asm, offsets: &KernelOffsets, fail: Label) {
    let same = a.label("same_row");
    a.ld(R1, OWN, Socket::RECEIVES);
    a.add(R1, 1);
    a.st(OWN, Socket::RECEIVES, R1);
    a.load(Size::DW, R2, R6, 0);
    let sk: Ptr<TcpSock> = offsets.behind(a, R9, R2, fail);
    offsets.read(a, R1, sk, offsets.copied_seq, fail);
    a.st(OWN, Socket::READ_SEQ, R1);
    a.ld(R3, OWN, Socket::READ_ROW);
    a.ld(R1, OWN, Head::SENT);
    a.ld(R2, OWN, Socket::READ_SENT);
    a.jump(Cond::Eq, R1, R2, same);
    a.st(OWN, Socket::READ_SENT, R1);
    a.mov(R3, 0);
    a.bind(same);
    a.add32(R3, R8);
    a.st(OWN, Socket::READ_ROW, R3);
}

/// What the process has earned, for a row of more bytes than its socket is trusted with.
fn of_process(a: &mut Asm, watch: &Watch, [never, open, out]: [Label; 3]) {
    let [known, less, finite] = ["process_known", "not_the_most", "no_stream"].map(|name| a.label(name));
    process::lookup(a, &watch.offsets, out);
    a.jump(Cond::Ne, R0, 0, known);
    process::enter(a, reader::NEW, reader::event::APPEARED);
    a.goto(out);
    a.bind(known);
    a.mov(R9, R0);
    a.load(Size::W, R1, R9, reader::STATE);
    a.jump(Cond::Eq, R1, reader::SPLICER, never);
    a.comment("the agent has not admitted it yet, or there is no agent");
    a.jump(Cond::Eq, R1, reader::NEW, out);
    a.ld(R1, OWN, Socket::RECEIVES);
    a.jump(Cond::Lt, R1, CONNECTION_RECEIVES, out);
    a.ld(R3, OWN, Socket::READ_ROW);
    a.load(Size::W, R2, R9, reader::PROVEN);
    a.jump32(Cond::Ge, R2, R3, open);
    a.load(Size::W, R1, R9, reader::MOST);
    a.jump(Cond::Ge, R1, R3, less);
    a.store(Size::W, R9, reader::MOST, R3);
    a.bind(less);
    a.load(Size::W, R1, R9, reader::SEEN);
    a.add(R1, 1);
    a.store(Size::W, R9, reader::SEEN, R1);
    a.jump(Cond::Lt, R1, PROGRAM_RECEIVES, out);
    a.load(Size::W, R2, R9, reader::MOST);
    a.jump(Cond::Lt, R2, STREAM_BYTES, finite);
    a.mov32(R2, socket::ANY);
    a.bind(finite);
    a.store(Size::W, R9, reader::PROVEN, R2);
    a.store(Size::W, R9, reader::SEEN, 0);
    a.store(Size::W, R9, reader::MOST, 0);
    a.goto(open);
}
