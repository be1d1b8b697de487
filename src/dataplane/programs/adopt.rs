//! Adoption: a socket whose connection exists already becomes one end of a pair.
//!
//! The agent has found both ends by their initial sequence numbers (`crate::sockets`), and calls setsockopt(2) on a
//! descriptor of each. This program runs for that call, under the socket's lock, with no callback and no system call of another
//! thread beside it. It acts on the one socket whose address the agent has written down, and passes over every other call.
//!
//! It takes [`AdoptionStep`](crate::dataplane::AdoptionStep)s. A look tells what proves that two sockets are the ends of one
//! connection: the mark of the packets that each sends, and that of the last packet that each has received
//! (`pairing::proof`). The agent compares them. Then each end is told its peer, as the records of a handshake tell new ones.
//!
//! Only Linux 6.12 and later let a program ask for the callbacks of a socket outside a callback.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use crate::asm::{self, Asm, Base, Field, Label, MapRef, Program, Ptr, Uses};
use crate::dataplane::emit::{clear_flags, count, set_flags, storage_get};
use crate::dataplane::kernel::ctx::SockOpt;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::probe::number_of;
use crate::dataplane::kernel::{AdoptionFields, KernelOffsets};
use crate::dataplane::membership::{callbacks, changes, keepalive, wake_reader, window};
use crate::dataplane::options::{Options, Streams};
use crate::dataplane::state::Counter;
use crate::dataplane::state::adoption::{Adoption, DONE};
use crate::dataplane::state::socket::{self, Head, OWN, Pace, PairKey, Socket};
use crate::dataplane::state::traffic::Traffic;
use crate::dataplane::state::{AdoptionStep, Refusal};
use crate::uapi::ctx::{sock_ops, sockopt};
use crate::uapi::helper::id as helper;
use crate::uapi::net;

/// The map of one entry by which the agent asks.
pub const ADOPTION: MapRef = MapRef(101);
/// Level and name of the socket option by which the agent calls: no protocol has such a level.
pub const LEVEL: i32 = 0x5354_4550;
/// See [`LEVEL`].
pub const NAME: i32 = 1;

/// Of a longer option the kernel copies only this much for programs, which must say that the caller's own is to be used
/// (Documentation/bpf/prog_cgroup_sockopt.rst).
const PAGE_SIZE: i32 = 4096;

/// The socket as the verifier knows it. Emitters that set socket options take it for the context of a callback.
const SK: Ptr<TcpSock> = Ptr::new(R6);
/// The same as a number, to read what the verifier does not know.
const SOCK: Ptr<TcpSock> = Ptr::new(R9);
/// The request.
const REQUEST: Ptr<Adoption> = Ptr::new(R8);

/// Assembles the program.
pub fn adopt(options: &Options, offsets: &KernelOffsets, fields: &AdoptionFields) -> Result<Program, asm::Error> {
    // It runs seldom, and plain numbers can be read by any type of program.
    let offsets = &KernelOffsets { casts: None, ..*offsets };
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    let context = a.slot::<u64>("context");
    a.set(context, R1);
    a.block("passed_over", |a, other| {
        let called = Ptr::<SockOpt>::new(R1);
        for (field, wanted) in [(SockOpt::LEVEL, LEVEL), (SockOpt::OPTNAME, NAME)] {
            a.ld(R2, called, field);
            a.require(R2.w().equals(wanted), other, "the agent calls");
        }
        a.ld(SK.reg(), called, SockOpt::SK);
        number_of(a, SOCK.reg(), SK.reg(), other);
        a.load_map_value(REQUEST.reg(), ADOPTION, 0);
        a.ld(R1, REQUEST, Adoption::SK);
        a.require(R1.equals(SOCK.reg()), other, "it is the socket that is meant");
        a.ld(R1, REQUEST, Adoption::STEP);
        a.require(R1.differs(0), other, "it has not been done yet");
        a.block("refused", |a, refused| {
            a.block("reported", |a, reported| {
                a.block("no_report", |a, other| {
                    a.ld(R1, REQUEST, Adoption::STEP);
                    a.jump_if(R1.differs(AdoptionStep::Report as i32), other);
                    report(a);
                    a.goto(reported);
                });
                a.block("given_back", |a, given_back| {
                    a.comment("what is given back may be half closed by now, or have a protocol");
                    a.ld(R1, REQUEST, Adoption::STEP);
                    a.jump_if(R1.equals(AdoptionStep::Undo as i32), given_back);
                    is_open(a, offsets, fields, refused);
                });
                a.block("looked", |a, looked| {
                    a.block("no_look", |a, other| {
                        a.ld(R1, REQUEST, Adoption::STEP);
                        a.jump_if(R1.differs(AdoptionStep::Look as i32), other);
                        look(a, offsets, fields, refused);
                        a.goto(looked);
                    });
                    same_connection(a, offsets, fields, refused);
                    change(a, options, offsets, fields, refused);
                });
            });
            a.load_map_value(REQUEST.reg(), ADOPTION, 0);
            a.st(REQUEST, Adoption::OUTCOME, DONE);
        });
        a.load_map_value(REQUEST.reg(), ADOPTION, 0);
        a.st(REQUEST, Adoption::STEP, 0);
        a.comment("the call ends here, and succeeds");
        a.get(R1, context);
        a.st(called, SockOpt::OPTLEN, -1);
        a.mov(R0, 1);
        a.exit();
    });
    let called = Ptr::<SockOpt>::new(R1);
    a.get(R1, context);
    a.ld(R2, called, SockOpt::OPTLEN);
    a.if_(R2.w().signed_above(PAGE_SIZE), |a| {
        a.comment("the caller's own bytes are used");
        a.st(called, SockOpt::OPTLEN, 0);
    });
    a.mov(R0, 1);
    a.exit();
    asm.finish()
}

fn uses() -> Uses {
    Uses::scratch().reads([SK.reg(), REQUEST.reg(), SOCK.reg()])
}

/// Lets those know that watch: a program alone can write into their ring buffer.
fn report(a: &mut Asm) {
    a.emitter("report", Uses::scratch().reads(REQUEST.reg()), |a| {
        a.block("has_room", |a, has_room| {
            changes::output(a, REQUEST.at(Adoption::CHANGE), has_room);
        });
    });
}

/// What is answered when a check fails from here on.
fn otherwise(a: &mut Asm, refusal: Refusal) {
    a.idiom("outcome", Uses::nothing().reads(REQUEST.reg()), |a| {
        a.st(REQUEST, Adoption::OUTCOME, refusal as i32);
    });
}

/// Goes on when the connection is established in both directions, and nothing else has the socket.
fn is_open(a: &mut Asm, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("open", uses(), |a| {
        otherwise(a, Refusal::NotOpen);
        offsets.read(a, R1, SOCK, fields.state, refused);
        a.require(R1.equals(net::TCP_ESTABLISHED), refused, "it is established");
        offsets.read(a, R1, SOCK, offsets.shutdown, refused);
        a.and(R1, net::RCV_SHUTDOWN | net::SEND_SHUTDOWN);
        a.require(R1.equals(0), refused, "no end has shut down");
        otherwise(a, Refusal::NotPlain);
        offsets.read(a, R1, SOCK, offsets.ulp_ops, refused);
        a.require(R1.equals(0), refused, "it has no upper-layer protocol");
        offsets.read(a, R1, SOCK, offsets.user_data, refused);
        a.require(R1.equals(0), refused, "it is in no socket map");
    });
}

/// Where an initial sequence number stands, and what it is derived from: a number, less the bytes before it.
type Initial = (Field<Adoption, u32>, Field<TcpSock, u32>, Field<TcpSock, u64>);

/// Both of them.
fn initial(offsets: &KernelOffsets, fields: &AdoptionFields) -> [Initial; 2] {
    [
        (Adoption::OWN_INITIAL, fields.snd_una, offsets.bytes_acked),
        (Adoption::PEER_INITIAL, fields.rcv_nxt, offsets.bytes_received),
    ]
}

/// Answers what the socket is.
fn look(a: &mut Asm, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("look", uses().writes(R7), |a| {
        otherwise(a, Refusal::NoMemory);
        for (place, number, bytes) in initial(offsets, fields) {
            offsets.read(a, R7, SOCK, number, refused);
            offsets.read(a, R1, SOCK, bytes, refused);
            a.sub32(R7, R1);
            a.st(REQUEST, place, R7);
        }
        for (place, mark) in [(Adoption::SENT_MARK, fields.sent_mark), (Adoption::RECEIVED_MARK, fields.received_mark)]
        {
            offsets.read(a, R1, SOCK, mark, refused);
            a.st(REQUEST, place, R1);
        }
        storage_get(a, SK.reg(), true);
        a.require(R0.differs(0), refused, "there is memory for its storage");
        a.mov(OWN.reg(), R0);
        a.st(REQUEST, Adoption::STORAGE, OWN.reg());
        a.ld(R1, OWN, Head::STATE);
        a.st(REQUEST, Adoption::STATE, R1);
        a.ld(R1, OWN, Socket::PEER_COOKIE);
        a.st(REQUEST, Adoption::PEER_COOKIE, R1);
        a.ld(R1, OWN, Socket::TRAFFIC.then(Traffic::LEAVING));
        a.st(REQUEST, Adoption::LEAVING, R1);
        offsets.read(a, R1, SOCK, fields.cookie, refused);
        a.st(OWN, Head::COOKIE, R1);
        a.st(REQUEST, Adoption::COOKIE, R1);
    });
}

/// Goes on when it is the connection that has been looked at: a socket can be disconnected, and connect again.
fn same_connection(a: &mut Asm, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("same", uses().writes(R7), |a| {
        otherwise(a, Refusal::OtherConnection);
        for (place, number, bytes) in initial(offsets, fields) {
            offsets.read(a, R7, SOCK, number, refused);
            offsets.read(a, R1, SOCK, bytes, refused);
            a.sub32(R7, R1);
            a.ld(R1, REQUEST, place);
            a.require(R1.w().equals(R7), refused, "its initial number is the same");
        }
    });
}

/// Takes the step that was asked for, which is none that only looks.
fn change(a: &mut Asm, options: &Options, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("change", uses().writes([R7, R8, R9]), |a| {
        otherwise(a, Refusal::NotFree);
        storage_get(a, SK.reg(), false);
        a.require(R0.differs(0), refused, "it has a storage");
        a.mov(OWN.reg(), R0);
        a.block("changed", |a, changed| {
            a.block("no_undo", |a, other| {
                a.ld(R1, REQUEST, Adoption::STEP);
                a.block("undo", |a, undo| {
                    a.jump_if(R1.equals(AdoptionStep::Undo as i32), undo);
                    a.jump_if(R1.differs(AdoptionStep::Recover as i32), other);
                    a.ld(R1, OWN, Head::STATE);
                    a.require(R1.equals(socket::PAIRED), refused, "it is one of a pair");
                    a.ld(R1, OWN, Head::FLAGS);
                    a.require(R1.none_of(socket::ARMED), refused, "its reader need not be woken");
                });
                a.ld(R1, OWN, Head::STATE);
                a.guard(R1.equals(socket::PAIRED), "it has been told its peer", |a| {
                    give_callbacks_back(a, options, offsets, refused);
                    a.comment("a callback may have armed it meanwhile");
                    window::put_back(a, offsets);
                    a.st(OWN, Socket::SMALL_BUFFER, 0);
                    wake_reader::disarm(a);
                    a.block("keepalive_stays", |a, stays| {
                        a.load_map_value(R1, ADOPTION, 0);
                        a.ld(R1, Ptr::<Adoption>::new(R1), Adoption::STEP);
                        a.jump_if(R1.differs(AdoptionStep::Undo as i32), stays);
                        keepalive::turn_off_again(a, offsets, stays);
                    });
                    keepalive::give_back(a);
                });
                a.st(OWN, Head::STATE, socket::PLAIN);
                a.goto(changed);
            });
            a.block("free", |a, free| {
                a.ld(R1, OWN, Head::STATE);
                a.permit(R1.equals(0), free, "it has been in no pair");
                a.require(R1.equals(socket::PLAIN), refused, "or its pair has left");
            });
            a.ld(R1, OWN, Head::READER);
            a.require(R1.differs(socket::NEVER), refused, "its reader may be served");
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.none_of(socket::ARMED), refused, "it has its own settings back");
            a.block("no_preparation", |a, other| {
                a.ld(R1, REQUEST, Adoption::STEP);
                a.jump_if(R1.differs(AdoptionStep::Prepare as i32), other);
                a.comment("a peer that is plain would take the other end along, and so would one whose last pair was to leave");
                clear_flags(a, socket::UNENROLLING);
                a.st(OWN, Head::STATE, 0);
                a.goto(changed);
            });
            pair(a, options, offsets, fields, refused);
        });
    });
}

/// The socket becomes one end of a pair, as `pairing` and `enroll` make it of a new one.
fn pair(a: &mut Asm, options: &Options, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("pair", uses().reads(OWN.reg()).writes([R8, R9]), |a| {
        want_callbacks(a, options, offsets, refused);
        otherwise(a, Refusal::OtherConnection);
        particulars(a, offsets, fields, refused);
        if options.streams() == Streams::Auto {
            a.comment("what was measured of an earlier pair");
            a.st(OWN, Socket::PACE.then(Pace::PHASE), 0);
        }
        a.block("end_counted", |a, counted| {
            a.block("server", |a, server| {
                a.ld(R1, REQUEST, Adoption::IS_CLIENT);
                a.jump_if(R1.equals(0), server);
                if !options.policy.uncounted {
                    begin_tally(a, offsets, refused);
                }
                count(a, Counter::Enrolled, 1);
                a.goto(counted);
            });
            keepalive::renew_tracking(a, options);
            count(a, Counter::Paired, 1);
        });
        a.comment("only now: without it nothing of this is looked at");
        a.st(OWN, Head::STATE, socket::PAIRED);
    });
}

/// Asks for our callbacks beside those that others want, which are noted.
fn want_callbacks(a: &mut Asm, options: &Options, offsets: &KernelOffsets, refused: Label) {
    let ours = callbacks::ours(options);
    a.emitter("want_callbacks", uses().reads(OWN.reg()), |a| {
        otherwise(a, Refusal::NoCallbacks);
        offsets.read(a, R1, SOCK, offsets.callback_flags, refused);
        a.mov(R2, R1);
        a.and(R2, ours);
        a.lsh(R2, socket::FOREIGN_SHIFT);
        a.ld(R3, OWN, Head::FLAGS);
        a.comment("of an earlier pair this stays");
        let stays = socket::LOCAL | socket::ANSWERED;
        a.and(R3, stays | sock_ops::ALL_CB_FLAGS << socket::FOREIGN_SHIFT);
        a.or(R2, R3);
        a.ld(R3, REQUEST, Adoption::FLAGS);
        a.or(R2, R3);
        a.or(R2, socket::LATE);
        a.st(OWN, Head::FLAGS, R2);
        a.or(R1, ours);
        if !options.policy.uncounted {
            a.ld(R3, REQUEST, Adoption::IS_CLIENT);
            a.if_(R3.differs(0), |a| a.or(R1, sock_ops::STATE_FLAG));
        }
        set_callbacks(a);
        a.require(R0.equals(0), refused, "the kernel lets us ask for callbacks");
    });
}

/// Gives our callbacks up, but for those that others wanted before us, and for that of a close.
fn give_callbacks_back(a: &mut Asm, options: &Options, offsets: &KernelOffsets, refused: Label) {
    let uses = Uses::scratch().reads([SK.reg(), REQUEST.reg(), SOCK.reg(), OWN.reg()]);
    a.emitter("give_callbacks_back", uses, |a| {
        offsets.read(a, R1, SOCK, offsets.callback_flags, refused);
        a.ld(R2, OWN, Head::FLAGS);
        a.rsh(R2, socket::FOREIGN_SHIFT);
        a.or(R2, !callbacks::ours(options));
        a.and(R1, R2);
        set_callbacks(a);
        otherwise(a, Refusal::NoCallbacks);
        a.require(R0.equals(0), refused, "the kernel lets us give them up");
    });
}

/// The socket has the callbacks in R1, and no others. R0 is not 0 where the kernel refuses it.
fn set_callbacks(a: &mut Asm) {
    a.emitter("set", Uses::scratch().reads([R1, SK.reg()]).gives(R0), |a| {
        let flags = a.slot::<u32>("callbacks");
        a.set(flags, R1);
        a.mov(R1, SK.reg());
        a.mov(R2, net::SOL_TCP);
        a.mov(R3, sockopt::TCP_BPF_SOCK_OPS_CB_FLAGS);
        a.addr(R4, flags);
        a.mov(R5, 4);
        a.call(helper::SETSOCKOPT);
    });
}

/// Writes what the socket knows of itself and of its peer.
fn particulars(a: &mut Asm, offsets: &KernelOffsets, fields: &AdoptionFields, refused: Label) {
    a.emitter("particulars", uses().reads(OWN.reg()), |a| {
        offsets.read(a, R1, SOCK, fields.cookie, refused);
        a.require(R1.differs(0), refused, "it has a number");
        a.st(OWN, Head::COOKIE, R1);
        a.comment("what comes by the stack has to be read by recvmsg first");
        offsets.read(a, R1, SOCK, offsets.copied_seq, refused);
        a.sub32(R1, 1);
        a.st(OWN, Socket::READ_SEQ, R1);
        a.st(OWN, Socket::OWN_SK, SK.reg());
        a.st(OWN, Socket::OWN_STORAGE, OWN.reg());
        a.ld(R1, REQUEST, Adoption::PEER_COOKIE);
        a.st(OWN, Socket::PEER_COOKIE, R1);
        a.ld(R1, REQUEST, Adoption::PEER_SK);
        a.st(OWN, Socket::PEER_SK, R1);
        a.ld(R1, REQUEST, Adoption::PEER_STORAGE);
        a.st(OWN, Socket::PEER_STORAGE, R1);
        a.block("answered", |a, answered| {
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.none_of(socket::ANSWERED), answered, "the key of its answer is not needed");
            a.comment("whose the pair is: the client's");
            a.ld(R1, OWN, Head::COOKIE);
            a.ld(R2, REQUEST, Adoption::IS_CLIENT);
            a.if_(R2.equals(0), |a| a.ld(R1, REQUEST, Adoption::PEER_COOKIE));
            a.st(OWN, Socket::PAIR_KEY.then(PairKey::CLIENT), R1);
        });
        a.ld(R1, REQUEST, Adoption::READER);
        a.if_(R1.differs(0), |a| a.st(OWN, Head::READER, R1));
        a.st(OWN, Head::LEAVING, 0);
        a.st(OWN, Head::SENT, 0);
        a.st(OWN, Socket::BURST_BYTES, 0);
        let zeros = [
            Socket::LAST_SEQ,
            Socket::BURST_MESSAGES,
            Socket::PEER_SENT,
            Socket::KEEPALIVE_TIME,
            Socket::RUN,
            Socket::ROW,
            Socket::RECEIVES,
            Socket::READ_ROW,
            Socket::READ_SENT,
            Socket::SPLICERS,
            Socket::SPLICES,
            Socket::JOINS,
            Socket::UNSURE,
            Socket::SEEN_ALONE,
            Socket::DRAIN_ALONE,
            Socket::TRAFFIC.then(Traffic::LEAVING),
        ];
        for field in zeros {
            a.st(OWN, field, 0);
        }
    });
}

/// The active end counts what the stack carries of its connection from now on, if it does not already.
fn begin_tally(a: &mut Asm, offsets: &KernelOffsets, refused: Label) {
    a.emitter("tally", Uses::scratch().reads([OWN.reg(), SOCK.reg()]).writes(R8), |a| {
        a.block("counts_already", |a, counts| {
            a.ld(R1, OWN, Head::FLAGS);
            a.require(R1.none_of(socket::LOCAL), counts, "its bytes do not count yet");
            offsets.read(a, R8, SOCK, offsets.bytes_acked, refused);
            offsets.read(a, R1, SOCK, offsets.bytes_received, refused);
            a.add(R1, R8);
            a.st(OWN, Socket::TALLIED, R1);
            set_flags(a, socket::LOCAL);
        });
    });
}
