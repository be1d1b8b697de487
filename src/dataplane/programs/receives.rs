//! What sees a socket's data received by recvmsg: how a reader earns its trust.
//!
//! Three things must come together before redirected bytes are sent to a socket. Data has been received there often enough
//! that a proxy which splices would have begun to. The process has received often enough on such connections, and has never
//! spliced. And the bytes in a row are no more than the most that it has received so: a program that splices long bodies,
//! and only these, gets them by the stack.
//!
//! All of this is written into the receiver's own storage, where `gate::reader` finds it.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{self, Asm, Base, Label, Program, Ptr, Uses};
use crate::dataplane::emit::storage_get;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::Arguments;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::{CONNECTION_RECEIVES, Hooks, Options, PROGRAM_RECEIVES, STREAM_BYTES, Watch};
use crate::dataplane::pairing;
use crate::dataplane::programs::process::{Process, RECORD, descriptor_of_call};
use crate::dataplane::state::MapRole;
use crate::dataplane::state::reader::{self, Event, Record, Splices, event};
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

/// `MSG_OOB`, `MSG_TRUNC` and `MSG_WAITALL`, include/linux/socket.h: redirected bytes do not support them.
const NEVER_WITH: i32 = 1 | 0x20 | 0x100;
/// `MSG_PEEK`: what is seen is not taken, and how it will be is not known.
const PEEK: i32 = 2;

/// What the program is given.
const ARGUMENTS: Ptr<Arguments> = Ptr::new(R6);

/// Receives after which the agent is asked once more to let the socket join; a power of 2.
const ASK_AGAIN: i32 = 256;

pub(in crate::dataplane) fn build(
    options: &Options,
    offsets: &KernelOffsets,
    watch: &Watch,
) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    program(&mut asm, options, offsets, watch);
    asm.finish()
}

fn program(a: &mut Asm, options: &Options, offsets: &KernelOffsets, watch: &Watch) {
    let (flags, result) = match watch.hooks {
        Hooks::Functions { flags, arguments } => (flags, arguments),
        // include/trace/events/sock.h: the socket, the result, the flags.
        Hooks::TracePoints | Hooks::Mixed => (2, 1),
    };
    let process = Process::new(a);
    a.mov(ARGUMENTS.reg(), R1);
    a.block("out", |a, out| {
        a.ld(R8, ARGUMENTS, Arguments::at(result));
        a.require(R8.w().signed_above(0), out, "it has received something");
        a.mov32(R8, R8);
        a.ld(R9, ARGUMENTS, Arguments::at(flags));
        a.ld(R7, ARGUMENTS, Arguments::at(0));
        storage_get(a, R7, false);
        a.require(R0.differs(0), out, "the socket has a storage");
        a.mov(R7, R0);
        a.ld(R1, OWN, Head::STATE);
        a.require(R1.equals(socket::PAIRED), out, "it is paired");
        a.block("never", |a, never| {
            a.block("peeks", |a, peeks| {
                a.require(R9.none_of(PEEK), peeks, "what is seen is taken");
                a.require(R9.none_of(NEVER_WITH), never, "redirected bytes support its flags");
                count(a, options, offsets, out);
                a.block("open", |a, open| {
                    a.block("look_up_process", |a, look| worth_a_look(a, options, look, out));
                    of_process(a, process, watch, [never, open, out]);
                });
                a.comment("R2 is what the process is trusted with");
                a.st(OWN, Head::READER, R2);
                if options.joins_later() {
                    ask_to_join(a, process, watch, out);
                }
                a.goto(out);
            });
            a.ld(R1, OWN, Head::READER);
            a.require(R1.differs(socket::NEVER), out, "it may still be served");
            a.comment("the next receive opens it again");
            a.st(OWN, Head::READER, 0);
            a.goto(out);
        });
        a.st(OWN, Head::READER, socket::NEVER);
    });
    a.mov(R0, 0);
    a.exit();
}

/// Goes to `look` when programs have spliced since the last look, and on when the row, R3, is more than the socket is trusted
/// with, or the agent is to be asked again.
fn worth_a_look(a: &mut Asm, options: &Options, look: Label, out: Label) {
    a.emitter("look", Uses::scratch().reads([R3, OWN.reg()]), |a| {
        a.ld(R1, OWN, Head::READER);
        a.require(R1.differs(socket::NEVER), out, "it may still be served");
        a.load_map_value(R1, MapRole::Splices.map_ref(), 0);
        a.ld(R1, Ptr::<Splices>::new(R1), Splices::PROCESSES);
        a.ld(R2, OWN, Socket::SPLICERS);
        a.guard(R1.differs(R2), "programs have spliced since", |a| {
            a.st(OWN, Socket::SPLICERS, R1);
            a.goto(look);
        });
        a.ld(R1, OWN, Head::READER);
        a.block("not_yet_asked", |a, unasked| {
            if options.joins_later() {
                a.comment("the agent is asked again now and then: it may have been another one");
                a.ld(R2, OWN, Socket::JOINS);
                a.jump_if(R2.equals(0), unasked);
                a.ld(R2, OWN, Socket::RECEIVES);
                a.and(R2, ASK_AGAIN - 1);
                a.jump_if(R2.equals(0), unasked);
            }
            a.require(R1.w().below(R3), out, "the row is more than it is trusted with");
        });
        a.ld(R1, OWN, Socket::RECEIVES);
        a.require(R1.at_least(CONNECTION_RECEIVES), out, "its connection has received often enough");
    });
}

/// Tells the agent that the socket may join the sockhash.
fn ask_to_join(a: &mut Asm, process: Process, watch: &Watch, out: Label) {
    a.emitter("join", Uses::scratch().reads(OWN.reg()), |a| {
        for word in Event::of_socket() {
            a.st(process.event, word, 0);
        }
        let cookies = [(Socket::HEAD.then(Head::COOKIE), Event::COOKIE), (Socket::PEER_COOKIE, Event::PEER_COOKIE)];
        for (cookie, place) in cookies {
            a.ld(R1, OWN, cookie);
            a.st(process.event, place, R1);
        }
        descriptor_of_call(a, &watch.offsets, process.event.at(Event::DESCRIPTOR));
        process.notify(a, event::JOINS);
        a.require(R0.equals(0), out, "there was room for the event");
        a.st(OWN, Socket::JOINS, 1);
    });
}

/// Counts the receive of R8 bytes, and notes how far the stack has been read; R3 = the bytes received in a row.
fn count(a: &mut Asm, options: &Options, offsets: &KernelOffsets, fail: Label) {
    a.emitter("receive", Uses::scratch().reads([ARGUMENTS.reg(), OWN.reg(), R8]).writes(R9).gives(R3), |a| {
        a.ld(R1, OWN, Socket::RECEIVES);
        a.add(R1, 1);
        a.st(OWN, Socket::RECEIVES, R1);
        if options.spares_short() {
            a.guard(R1.equals(CONNECTION_RECEIVES), "it may gain from now on", pairing::listener::lives);
        }
        a.ld(R2, ARGUMENTS, Arguments::at(0));
        let sk: Ptr<TcpSock> = offsets.behind(a, R9, R2, fail);
        offsets.read(a, R1, sk, offsets.copied_seq, fail);
        a.st(OWN, Socket::READ_SEQ, R1);
        a.ld(R3, OWN, Socket::READ_ROW);
        a.ld(R1, OWN, Head::SENT);
        a.ld(R2, OWN, Socket::READ_SENT);
        a.guard(R1.differs(R2), "an answer ends the row", |a| {
            a.st(OWN, Socket::READ_SENT, R1);
            a.mov(R3, 0);
        });
        a.add32(R3, R8);
        a.st(OWN, Socket::READ_ROW, R3);
    });
}

/// What the process has earned, for a row of more bytes than its socket is trusted with: goes to `open` with it in R2.
fn of_process(a: &mut Asm, process: Process, watch: &Watch, [never, open, out]: [Label; 3]) {
    a.emitter("process", Uses::scratch().reads(OWN.reg()).writes(RECORD.reg()).gives(R2), |a| {
        process.lookup(a, &watch.offsets, out);
        a.if_(R0.equals(0), |a| {
            process.enter(a, reader::NEW, event::APPEARED);
            a.goto(out);
        });
        a.mov(RECORD.reg(), R0);
        a.ld(R1, RECORD, Record::STATE);
        a.require(R1.differs(reader::SPLICER), never, "it has not spliced");
        a.comment("the agent has not admitted it yet, or there is no agent");
        a.require(R1.differs(reader::NEW), out, "it is admitted");
        a.ld(R1, OWN, Socket::RECEIVES);
        a.require(R1.at_least(CONNECTION_RECEIVES), out, "the connection has received often enough");
        a.ld(R3, OWN, Socket::READ_ROW);
        a.ld(R2, RECORD, Record::PROVEN);
        a.permit(R2.w().at_least(R3), open, "it is trusted with the row");
        a.ld(R1, RECORD, Record::MOST);
        a.guard(R1.below(R3), "the longest row is remembered", |a| a.st(RECORD, Record::MOST, R3));
        a.ld(R1, RECORD, Record::SEEN);
        a.add(R1, 1);
        a.st(RECORD, Record::SEEN, R1);
        a.require(R1.at_least(PROGRAM_RECEIVES), out, "it has received often enough");
        a.ld(R2, RECORD, Record::MOST);
        a.guard(R2.at_least(STREAM_BYTES), "a stream is trusted with any number", |a| a.mov32(R2, socket::ANY));
        a.st(RECORD, Record::PROVEN, R2);
        a.st(RECORD, Record::SEEN, 0);
        a.st(RECORD, Record::MOST, 0);
        a.goto(open);
    });
}
