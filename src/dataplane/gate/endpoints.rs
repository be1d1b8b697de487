//! What both ends must be like so that no application sees a difference: non-blocking, and without socket options that
//! redirected bytes pass by.
//!
//! An end that is otherwise makes the pair leave the sockhash: membership alone is enough to be noticed.

use crate::asm::Reg::{R1, R3, R9};
use crate::asm::{Asm, Label, Ptr, Uses};
use crate::dataplane::emit::{config, set_flags};
use crate::dataplane::gate::deferral::Deferral;
use crate::dataplane::gate::exits::Exits;
use crate::dataplane::gate::fionread;
use crate::dataplane::gate::roles::{PEER, uses_peer};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::{File, Socket as FileSocket, TcpSock, Word};
use crate::dataplane::membership::{callbacks, keepalive};
use crate::dataplane::options::{Options, Readers};
use crate::dataplane::state::Counter;
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::net;

/// Messages after which a receiver that still blocks is taken for one that will go on to: a client's greeting, and what it may
/// send behind it before a server that has just accepted it runs again.
const FIRST_MESSAGES: i32 = 8;

/// Our own socket, while both ends are looked at; opened.
const OWN_SK: Ptr<TcpSock> = Ptr::new(R9);

/// Goes on when both ends are as they must be.
///
/// Where a look costs a helper call, it is taken until the first message is redirected, and then no more.
pub(in crate::dataplane) fn require(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    deferral: Deferral,
    exits: &mut Exits,
) {
    let [stale, pass_option] = [Counter::PassStale, Counter::PassOption].map(|counter| exits.to(a, counter));
    let [leave, plain] = ["leave_for_option", "plain_options"].map(|name| a.label(name));
    let once = offsets.casts.is_none();
    a.emitter("endpoints", uses_peer(), |a| {
        a.block("ends_known", |a, known| {
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
            require_tcp_alone(a, offsets, leave, stale);
            look_for_callbacks(a, options, offsets, deferral, stale);
            if once {
                a.ld(R1, OWN, Head::FLAGS);
                a.permit(R1.any_of(socket::ENDS_OK), known, "they have been looked at");
            }
            require_options(a, offsets, OWN_SK, offsets.options.sender, leave, stale);
            require_options(a, offsets, PEER, offsets.options.receiver, leave, stale);
            a.comment("SO_PEEK_OFF: -1 unless the receiver has asked for it");
            offsets.read(a, R1, PEER, offsets.peek_off, stale);
            a.require(R1.w().signed_below(0), leave, "the receiver does not peek at an offset");
            if options.wakes_readers().is_some() {
                probes_are_ours(a, offsets, deferral, exits);
            }
            a.goto(plain);
            a.bind(leave);
            set_flags(a, socket::UNENROLLING);
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
        });
    });
}

/// The passive end, we or the peer, probes as we have asked it to. Otherwise the message is to take the stack: its packet, or
/// the answer, is a callback at that end, which asks again.
fn probes_are_ours(a: &mut Asm, offsets: &KernelOffsets, deferral: Deferral, exits: &mut Exits) {
    let stale = exits.to(a, Counter::PassStale);
    a.emitter("probes", uses_peer().reads(OWN_SK.reg()), |a| {
        a.block("probes_known", |a, ours| {
            let changed = a.label("time_changed");
            keepalive::require_ours(a, offsets, OWN, OWN_SK, "own_not_probed", [changed, stale]);
            if offsets.casts.is_some() {
                let peer = Ptr::<Socket>::new(R9);
                a.ld(peer.reg(), OWN, Socket::PEER_STORAGE);
                offsets.open(a, Ptr::<Word>::new(peer.reg()));
                keepalive::require_ours(a, offsets, peer, PEER, "peer_not_probed", [changed, stale]);
            }
            a.goto(ours);
            a.bind(changed);
            deferral.note(a, offsets, Counter::PassState);
        });
        if offsets.casts.is_some() {
            a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
            offsets.open(a, OWN_SK);
        }
    });
}

/// Goes on when neither end has an upper-layer protocol (TCP_ULP), else to `leave`. kTLS makes records of what a sender hands
/// over, and a receiver expects records: redirected bytes pass both by, unencrypted and unverified.
fn require_tcp_alone(a: &mut Asm, offsets: &KernelOffsets, leave: Label, stale: Label) {
    a.emitter("protocol", Uses::scratch().reads([OWN_SK.reg(), PEER.reg()]), |a| {
        for (sk, name) in
            [(OWN_SK, "the sender has no upper-layer protocol"), (PEER, "the receiver has no upper-layer protocol")]
        {
            offsets.read(a, R1, sk, offsets.ulp_ops, stale);
            a.require(R1.equals(0), leave, name);
        }
    });
}

/// Without our callbacks a pair could not leave, and a reader could not be woken: when another sock_ops program has set flags
/// without ours, messages take the stack.
fn look_for_callbacks(a: &mut Asm, options: &Options, offsets: &KernelOffsets, deferral: Deferral, stale: Label) {
    let ours = callbacks::ours(options);
    a.emitter("callbacks", uses_peer().reads(OWN_SK.reg()), |a| {
        for (sk, name) in [(OWN_SK, "a sender without our callbacks defers"), (PEER, "so does a receiver without them")]
        {
            offsets.read(a, R1, sk, offsets.callback_flags, stale);
            a.and(R1, ours);
            a.guard(R1.differs(ours), name, |a| deferral.note(a, offsets, Counter::PassCallbacks));
        }
    });
}

/// Both files must be O_NONBLOCK.
///
/// A program may accept first and set O_NONBLOCK then (PostgreSQL, Java NIO, asyncio). So a receiver that has not sent yet gets
/// its first messages by the stack, and the pair is kept meanwhile. On kernels where FIONREAD does not see these bytes the pair
/// leaves at once; there, pairs join the sockhash only when both programs are trusted, which is later than O_NONBLOCK.
fn readers(a: &mut Asm, offsets: &KernelOffsets, unaccepted_too: Label, exits: &mut Exits) {
    let [stale, unaccepted, pass_blocking] =
        [Counter::PassStale, Counter::PassUnaccepted, Counter::PassBlocking].map(|counter| exits.to(a, counter));
    let [blocking, yet, no_file] = ["reader_blocks", "reader_blocks_yet", "not_accepted"].map(|name| a.label(name));
    a.emitter("readers", uses_peer().reads(OWN_SK.reg()), |a| {
        a.block("both_nonblocking", |a, both| {
            file_is_nonblocking(a, offsets, OWN_SK, "sender", NoFile::Refuses(stale), blocking, stale);
            file_is_nonblocking(a, offsets, PEER, "receiver", NoFile::Refuses(no_file), yet, stale);
            a.goto(both);
            a.bind(yet);
            a.comment(
                "where a member's FIONREAD does not see the stack's bytes, a blocking reader may wait for them forever",
            );
            config(a, R1, Value::REDIRECT_UNACCEPTED);
            a.require(R1.equals(0), blocking, "its FIONREAD sees the stack's bytes");
            a.ld(R1, OWN, Socket::PEER_SENT);
            a.require(R1.equals(0), blocking, "it has not sent yet");
            a.ld(R1, OWN, Head::SENT);
            a.permit(R1.at_most(FIRST_MESSAGES), pass_blocking, "and may set O_NONBLOCK before it does");
            a.bind(blocking);
            set_flags(a, socket::UNENROLLING);
            a.goto(pass_blocking);
            a.bind(no_file);
            a.comment("how it will be read is not known yet");
            config(a, R1, Value::REDIRECT_UNACCEPTED);
            a.require(R1.differs(0), unaccepted, "a receiver that is not accepted is served");
            a.goto(unaccepted_too);
        });
    });
}

/// Goes on when the peer does not block. It comes after the peer has been seen to have read all our
/// stack bytes: a reader that blocks in that call has cleared O_NONBLOCK before.
pub(in crate::dataplane) fn require_nonblocking_receiver(a: &mut Asm, offsets: &KernelOffsets, exits: &mut Exits) {
    let [stale, pass_blocking] = [Counter::PassStale, Counter::PassBlocking].map(|counter| exits.to(a, counter));
    a.block("none_sleeps", |a, fine| {
        a.block("sleeps_in_recv", |a, blocking| {
            file_is_nonblocking(a, offsets, PEER, "awake", NoFile::Permits(fine), blocking, stale);
            a.goto(fine);
        });
        set_flags(a, socket::UNENROLLING);
        a.goto(pass_blocking);
    });
}

/// Goes on when none of the options in `bits` is set on the socket, else to `set`.
fn require_options(a: &mut Asm, offsets: &KernelOffsets, sk: Ptr<TcpSock>, bits: u32, set: Label, fail: Label) {
    if bits != 0 {
        a.idiom("options", Uses::scratch().reads(sk.reg()), |a| {
            offsets.read(a, R1, sk, offsets.sk_flags, fail);
            a.require(R1.none_of(bits as i32), set, "none is set that redirected bytes pass by");
        });
    }
}

/// What it means that a socket has no file.
#[derive(Clone, Copy)]
pub(in crate::dataplane) enum NoFile {
    /// No reader can block on it.
    Permits(Label),
    /// Nothing is known of it.
    Refuses(Label),
}

/// Goes on when the file of the socket is O_NONBLOCK, else to `blocking`. `whose` is a name for its checks.
pub(in crate::dataplane) fn file_is_nonblocking(
    a: &mut Asm,
    offsets: &KernelOffsets,
    sk: Ptr<TcpSock>,
    whose: &str,
    no_file: NoFile,
    blocking: Label,
    fail: Label,
) {
    let require = |a: &mut Asm, name: &str| match no_file {
        NoFile::Permits(label) => a.permit(R3.equals(0), label, name),
        NoFile::Refuses(label) => a.require(R3.differs(0), label, name),
    };
    a.emitter(whose, Uses::scratch().reads(sk.reg()), |a| {
        let (file_socket, file) = (Ptr::<FileSocket>::new(R3), Ptr::<File>::new(R3));
        offsets.read(a, file_socket.reg(), sk, offsets.socket, fail);
        require(a, "it has a socket");
        offsets.read(a, file.reg(), file_socket, offsets.file, fail);
        require(a, "it has a file");
        offsets.read(a, R1, file, offsets.f_flags, fail);
        a.require(R1.any_of(net::O_NONBLOCK), blocking, "it does not block");
    });
}
