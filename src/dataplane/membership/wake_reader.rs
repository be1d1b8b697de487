//! A receiver that is not notified: bytes of the stack lie unread behind redirected ones.
//!
//! They had their event when they came. A reader that got one event and stops at a short read reads the redirected bytes
//! and waits for another event; one that asks FIONREAD, on kernels where that does not see the stack's bytes in a
//! sockhash, sees nothing. The gate avoids it where it can (`gate::deferral`); what remains (a full queue, a server that
//! blocks, memory pressure) is looked after here, at the receiver, whose callback for each packet it sends
//! (`BPF_SOCK_OPS_HDR_OPT_LEN_CB`) comes with its acknowledgement of the stack's bytes:
//!
//! 1. The pair is to leave, unless it stays with its stream (`gate::backpressure`), and the receiver is *armed*: TCP keepalive
//!    probes its peer every second, so that there is a callback every second.
//! 2. When the redirected bytes have been read, the pair leaves, and SO_RCVLOWAT is set to what it is, upon which the
//!    kernel wakes the reader again (`tcp_set_rcvlowat`; for programs since Linux 6.1).
//! 3. The socket's own settings come back.
//!
//! The peer's answers to these probes may lie beyond the receiver's window, which redirected bytes have closed, and such
//! packets do not count as a sign of life (`tcp_sequence`, net/ipv4/tcp_input.c): after `TCP_KEEPCNT` probes the kernel would
//! reset a connection that is well. So meanwhile `TCP_USER_TIMEOUT`, which then decides instead (`tcp_keepalive_timer`,
//! net/ipv4/tcp_timer.c), is longer than any pause.
//!
//! The *sender* of these bytes is armed as well. It fills the window and then asks for a larger one, less and less often. The
//! probes above carry one, but it discards them unread, since their sequence number is old; and a receiver that has
//! offered a window once does not offer it again. So meanwhile the sender asks every second (`TCP_RTO_MAX_MS`, Linux 6.15), until
//! the reader has been woken: a sender that gave this up before would double its second with each packet that finds no room.

use crate::asm::Reg::{R1, R7, R8, R9};
use crate::asm::{Asm, Field, Label, Ptr, Uses};
use crate::dataplane::emit::{count, known_storage, set_flags};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::{SockOpsKern, TcpSock};
use crate::dataplane::kernel::psock::{psock, queue};
use crate::dataplane::membership::{callbacks, clamp, keepalive, window};
use crate::dataplane::options::{Options, Streams};
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::dataplane::state::traffic::Traffic;
use crate::uapi::net;

/// Seconds between two looks: the shortest that keepalive has.
const INTERVAL: i32 = 1;

/// Our own socket, while it is looked at.
const OWN_SK: Ptr<TcpSock> = Ptr::new(R9);

fn uses() -> Uses {
    Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9])
}

/// In the callback of a packet: goes on when there is something to do, else to `out`, as soon as that is known.
pub(in crate::dataplane) fn worth_a_look(a: &mut Asm, offsets: &KernelOffsets, out: Label) {
    a.emitter("packet", Uses::scratch().reads(SOCK_OPS.reg()).writes([R8, R9]), |a| {
        a.block("worth_a_look", |a, look| {
            let context: Ptr<SockOpsKern> = offsets.behind(a, R9, SOCK_OPS.reg(), out);
            offsets.read(a, OWN_SK.reg(), context, offsets.ops_sk, out);
            offsets.open(a, OWN_SK);
            a.ld(R1, SOCK_OPS, SockOps::SKB_LEN);
            a.require(R1.equals(0), look, "no data, whose sender may have to be armed");
            a.comment("all is read, and no probes are to be given up");
            a.ld(R8, SOCK_OPS, SockOps::RCV_NXT);
            offsets.read(a, R1, OWN_SK, offsets.copied_seq, out);
            a.require(R1.w().equals(R8), look, "all is read");
            offsets.read(a, R1, OWN_SK, offsets.sk_flags, out);
            a.and(R1, net::SOCK_KEEPOPEN);
            a.require(R1.differs(0), out, "it may be armed");
        });
    });
}

/// The socket stays in the sockhash. Ends at `out`, or at `settles` ([`written`]), where it is disarmed.
pub(in crate::dataplane) fn watch(a: &mut Asm, options: &Options, offsets: &KernelOffsets, [settles, out]: [Label; 2]) {
    let [all_read, waits] = ["all_read", "redirected_first"].map(|name| a.label(name));
    a.emitter("watch", uses(), |a| {
        keepalive::renew_if_changed(a, offsets);
        unread(a, offsets, all_read, out);
        a.ld(R8, OWN, Head::FLAGS);
        a.block("nothing_redirected", |a, unguarded| {
            let psock = psock(a, offsets, R9, OWN_SK, unguarded, out);
            let head = queue(a, offsets, psock, out);
            a.require(R1.equals(head.reg()), waits, "its queue is empty");
        });
        if options.joins_later() {
            a.block("armed_before", |a, armed| {
                a.permit(R8.any_of(socket::ARMED), armed, "it has callbacks");
                a.require(R8.any_of(socket::UNENROLLING), out, "its pair is to leave");
                a.comment("FIONREAD does not show these bytes before it has left");
                count(a, Counter::Armed, 1);
                arm(a, options, offsets, out);
                a.goto(out);
            });
        } else {
            a.and(R8, socket::ARMED);
            a.require(R8.differs(0), out, "it is armed");
        }
        a.comment("it could not leave just now, or its peer has taken it out, but its reader need not wait");
        wake(a, offsets, out);
        window::keep_closed(a, offsets);
        require_own_size(a, out);
        a.goto(settles);
        a.bind(waits);
        a.block("armed_already", |a, armed| {
            a.require(R8.none_of(socket::ARMED), armed, "it is not armed yet");
            count(a, Counter::Armed, 1);
            arm(a, options, offsets, out);
            a.goto(out);
        });
        window::keep_closed(a, offsets);
        a.goto(out);
        a.bind(all_read);
        a.block("sends_nothing_behind", |a, unneeded| {
            a.ld(R8, OWN, Head::FLAGS);
            a.mov(R1, R8);
            a.and(R1, socket::UNENROLLING);
            a.require(R1.differs(0), unneeded, "what it sends takes the stack");
            a.ld(R1, OWN, Socket::BURST_MESSAGES);
            a.require(R1.differs(0), unneeded, "redirected messages were unread when the last one looked");
            a.require(R8.none_of(socket::ARMED), out, "this sender is not armed yet");
            arm(a, options, offsets, out);
            a.goto(out);
        });
        a.goto(settles);
    });
}

/// The socket has left the sockhash. Ends at `settles` ([`written`]), where it gives back what is ours, or at `out`.
pub(in crate::dataplane) fn after_unenroll(a: &mut Asm, offsets: &KernelOffsets, [settles, out]: [Label; 2]) {
    a.emitter("left", uses(), |a| {
        a.block("woken", |a, woken| {
            unread(a, offsets, woken, woken);
            wake(a, offsets, woken);
            window::keep_closed(a, offsets);
        });
        require_own_size(a, out);
        a.goto(settles);
    });
}

/// Goes on when the receive buffer has its own size. Else the socket stays armed until it has, and is disarmed then: so there is a
/// callback in any case.
fn require_own_size(a: &mut Asm, out: Label) {
    a.emitter("own_size", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
        a.ld(R1, OWN, Socket::SMALL_BUFFER);
        a.guard(R1.differs(0), "its buffer is small", |a| {
            set_flags(a, socket::WOKEN);
            a.goto(out);
        });
    });
}

/// Gives the receive buffer its size back and goes on with the flags in R1, or goes to `right` when it is not small.
fn put_back_once(a: &mut Asm, offsets: &KernelOffsets, right: Label) {
    a.ld(R1, OWN, Socket::SMALL_BUFFER);
    a.require(R1.differs(0), right, "its buffer was small");
    window::put_back(a, offsets);
    a.st(OWN, Socket::SMALL_BUFFER, 0);
    a.ld(R1, OWN, Head::FLAGS);
}

/// In any callback but that which writes options: gives the receive buffer its size back, if it is small, and goes on; a socket whose
/// reader has been woken goes to `settles`. R1 is then its state.
pub(in crate::dataplane) fn restore_size(a: &mut Asm, offsets: &KernelOffsets, settles: Label) {
    a.emitter("restore_size", uses().gives(R1), |a| {
        a.block("size_is_right", |a, right| {
            put_back_once(a, offsets, right);
            a.require(R1.none_of(socket::WOKEN), settles, "its reader has not been woken");
        });
        a.ld(R1, OWN, Head::STATE);
    });
}

/// In the callback that writes a packet's options: the same. Ends at `out`, or at `settles`.
pub(in crate::dataplane) fn written(
    a: &mut Asm,
    options: &Options,
    offsets: &KernelOffsets,
    settles: Label,
    out: Label,
) {
    a.emitter("written", Uses::scratch().reads(SOCK_OPS.reg()).writes([R7, R8, R9]), |a| {
        known_storage(a, out);
        put_back_once(a, offsets, out);
        a.require(R1.any_of(socket::WOKEN), out, "its reader has been woken");
    });
    a.bind(settles);
    a.emitter("settle", uses(), |a| {
        disarm(a);
        a.ld(R1, OWN, Head::STATE);
        a.require(R1.equals(socket::PLAIN), out, "its pair has left");
        keepalive::give_back(a);
        if options.streams() != Streams::Leave {
            clamp::give_back(a);
        }
        callbacks::drop(a, options);
        a.goto(out);
    });
}

/// Goes on when bytes of the stack are unread, else to `none`; R9 is then our own socket. Uses R8.
fn unread(a: &mut Asm, offsets: &KernelOffsets, none: Label, fail: Label) {
    a.emitter("unread", uses().gives(OWN_SK.reg()), |a| {
        a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, OWN_SK);
        a.ld(R8, SOCK_OPS, SockOps::RCV_NXT);
        offsets.read(a, R1, OWN_SK, offsets.copied_seq, fail);
        a.require(R1.w().differs(R8), none, "bytes of the stack are unread");
    });
}

/// Asks for a callback a second, and for the pair to leave, unless its stream stays.
fn arm(a: &mut Asm, options: &Options, offsets: &KernelOffsets, fail: Label) {
    a.emitter("arm", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes([R8, R9]), |a| {
        a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, OWN_SK);
        for setting in SETTINGS {
            keepalive::get(a, setting.option());
            match setting {
                Setting::Seconds(_, place) => a.st(OWN, place, R1),
                Setting::Milliseconds(_, place, _) => a.st(OWN, place, R1),
            }
        }
        offsets.read(a, R1, OWN_SK, offsets.sk_flags, fail);
        a.and(R1, net::SOCK_KEEPOPEN);
        a.guard(R1.differs(0), "keepalive that was on is remembered", |a| set_flags(a, socket::KEPT_ALIVE));
        let leaves = |a: &mut Asm| {
            let leaving = Socket::TRAFFIC.then(Traffic::LEAVING);
            a.ld(R1, OWN, leaving);
            a.if_(R1.equals(0), |a| a.st(OWN, leaving, Counter::Armed.field().offset()));
        };
        if options.streams() == Streams::Leave {
            set_flags(a, socket::ARMED | socket::UNENROLLING);
            leaves(a);
        } else {
            set_flags(a, socket::ARMED);
            a.block("decided", |a, decided| {
                a.block("stays", |a, stays| {
                    a.frame(|a| {
                        let storage = Ptr::<Head>::new(R9);
                        a.ld(storage.reg(), OWN, Socket::PEER_STORAGE);
                        let peer = offsets.storage_head(a, storage, decided);
                        a.ld(R1, peer, Head::FLAGS);
                    });
                    a.jump_if(R1.any_of(socket::STAYS), stays);
                    set_flags(a, socket::UNENROLLING);
                    leaves(a);
                    a.goto(decided);
                });
                clamp::narrow(a, offsets);
            });
        }
        let value = keepalive::option_value(a);
        for setting in SETTINGS {
            a.set(value, setting.ours());
            keepalive::set(a, net::SOL_TCP, setting.option(), value);
        }
        a.set(value, 1);
        keepalive::set(a, net::SOL_SOCKET, net::SO_KEEPALIVE, value);
    });
}

/// Gives the application's settings back, if the socket is armed.
pub(in crate::dataplane) fn disarm(a: &mut Asm) {
    a.emitter("disarm", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R8), |a| {
        a.block("not_armed", |a, unarmed| {
            let value = keepalive::option_value(a);
            a.ld(R8, OWN, Head::FLAGS);
            a.mov(R1, R8);
            a.and(R1, socket::ARMED);
            a.require(R1.differs(0), unarmed, "it is armed");
            a.block("kept_alive", |a, kept| {
                a.require(R8.none_of(socket::KEPT_ALIVE), kept, "keepalive was off");
                a.set(value, 0);
                keepalive::set(a, net::SOL_SOCKET, net::SO_KEEPALIVE, value);
            });
            for setting in SETTINGS {
                match setting {
                    Setting::Seconds(_, place) => a.ld(R1, OWN, place),
                    Setting::Milliseconds(_, place, _) => a.ld(R1, OWN, place),
                }
                a.set(value, R1);
                keepalive::set(a, net::SOL_TCP, setting.option(), value);
            }
            a.and(R8, !(socket::ARMED | socket::KEPT_ALIVE | socket::WOKEN));
            a.st(OWN, Head::FLAGS, R8);
        });
    });
}

/// An option that is set while a socket is armed, and where the application's value is kept meanwhile.
#[derive(Clone, Copy)]
enum Setting {
    /// At most 32,767 (`MAX_TCP_KEEPIDLE`); ours is the interval.
    Seconds(i32, Field<Socket, u16>),
    /// Also our value.
    Milliseconds(i32, Field<Socket, u32>, i32),
}

impl Setting {
    fn option(self) -> i32 {
        match self {
            Self::Seconds(option, _) | Self::Milliseconds(option, ..) => option,
        }
    }

    fn ours(self) -> i32 {
        match self {
            Self::Seconds(..) => INTERVAL,
            Self::Milliseconds(.., ours) => ours,
        }
    }
}

/// Where the kernel does not have one of them, both getting and setting it fail.
const SETTINGS: [Setting; 4] = [
    Setting::Seconds(net::TCP_KEEPIDLE, Socket::KEEPIDLE),
    Setting::Seconds(net::TCP_KEEPINTVL, Socket::KEEPINTVL),
    Setting::Milliseconds(net::TCP_USER_TIMEOUT, Socket::USER_TIMEOUT, i32::MAX),
    Setting::Milliseconds(net::TCP_RTO_MAX_MS, Socket::RTO_MAX, 1000 * INTERVAL),
];

/// Tells the reader of our socket that there is something.
fn wake(a: &mut Asm, offsets: &KernelOffsets, fail: Label) {
    a.emitter("wake", Uses::scratch().reads([SOCK_OPS.reg(), OWN.reg()]).writes(R9), |a| {
        a.ld(OWN_SK.reg(), OWN, Socket::OWN_SK);
        offsets.open(a, OWN_SK);
        offsets.read(a, R1, OWN_SK, offsets.rcvlowat, fail);
        let value = keepalive::option_value(a);
        a.set(value, R1);
        keepalive::set(a, net::SOL_SOCKET, net::SO_RCVLOWAT, value);
    });
}
