//! The drain: a BPF iterator over the sockhash (Linux 5.10) that deletes the entries whose queue of redirected
//! messages is empty: all of them when the soft switch is off, else those that the agent has marked (`programs::leave`),
//! where iterators see the marks (Linux 5.11).
//!
//! After the switch, or the mark, an empty queue stays empty but for messages underway (`gate::deferral`): a
//! sender that may be underway, or has sent while the drain looked, is waited for. Entries with unread bytes are counted
//! and left for the next pass: deleting them would lose the bytes.

use crate::asm::Reg::{R0, R1, R2, R3, R6, R7, R8, R9};
use crate::asm::{self, Asm, Base, Field, Label, Place, Program, Ptr, Slot, Uses};
use crate::dataplane::emit::{config, copy_words, count, storage_get};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{ITER_SOCKMAP, IterSockmap, Key};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::kernel::psock::{psock, queue, require_alone};
use crate::dataplane::options::{Options, Readers};
use crate::dataplane::state::config::Value;
use crate::dataplane::state::socket::{self, FourTuple, Head, Socket};
use crate::dataplane::state::{Counter, MapRole};
use crate::uapi::helper::id as helper;

/// The socket of the entry, as the verifier knows it.
const SK: Ptr<TcpSock> = Ptr::new(R8);

/// What is kept of the peer, to see whether it has sent meanwhile.
#[derive(Clone, Copy)]
struct Peer {
    /// The address of its storage, or 0.
    storage: Slot<u64>,
    /// How many messages it had sent at first.
    sent: Place<u32>,
}

pub(in crate::dataplane) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    program(&mut asm, options, offsets);
    asm.finish()
}

fn program(a: &mut Asm, options: &Options, offsets: &KernelOffsets) {
    let key = a.slot::<FourTuple>("key");
    let peer = Peer { storage: a.slot("peer's storage"), sent: a.slot::<u32>("peer's sent").place() };
    let [waiting, empty] = ["waiting", "empty"].map(|name| a.label(name));
    a.mov(R6, R1);
    a.block("out", |a, out| {
        a.comment("both are null in the call that ends the iteration");
        a.ld(R7, ITER_SOCKMAP, IterSockmap::KEY);
        a.require(R7.differs(0), out, "there is a key");
        a.ld(SK.reg(), ITER_SOCKMAP, IterSockmap::SK);
        a.require(SK.reg().differs(0), out, "there is a socket");
        a.comment("the delete helper takes keys from the stack, not from the iterator's buffer");
        let words = FourTuple::WORDS.items().take(options.pairing.socket_key_size() as usize / 8);
        let words = words.map(|word| (Field::<Key, u64>::new(word.offset()), word));
        copy_words(a, words, Ptr::<Key>::new(R7), key);
        is_to_leave(a, offsets, out);
        if offsets.iterators_have_storage {
            no_sender_underway(a, options, offsets, peer, waiting);
        }
        let sk: Ptr<TcpSock> = offsets.behind(a, R9, SK.reg(), out);
        let psock = psock(a, offsets, R9, sk, out, waiting);
        // A reader that sleeps in recvmsg keeps its psock as well, and would have to be waited for.
        if offsets.iterators_have_storage && options.readers == Readers::NonBlocking {
            a.comment("a thread that sends keeps its psock: without the map's reference it would be taken for the map");
            require_alone(a, offsets, psock, R6, 0, waiting);
        }
        offsets.load_barrier(a);
        let head = queue(a, offsets, psock, waiting);
        a.permit(R1.equals(head.reg()), empty, "its queue is empty");
        a.bind(waiting);
        count(a, Counter::DrainWaiting, 1);
        a.goto(out);
        a.bind(empty);
        if offsets.iterators_have_storage {
            if options.forces() {
                seen_alone(a, offsets, peer, waiting);
            } else {
                offsets.load_barrier(a);
            }
            no_message_since(a, offsets, peer, waiting);
        }
        a.load_map(R1, MapRole::Sockets.map_ref());
        a.addr(R2, key);
        a.call(helper::MAP_DELETE_ELEM);
        a.require(R0.equals(0), out, "it was there");
        count(a, Counter::Drained, 1);
    });
    a.mov(R0, 0);
    a.exit();
}

/// Goes on when the socket is to leave, else to `out`.
fn is_to_leave(a: &mut Asm, offsets: &KernelOffsets, out: Label) {
    a.emitter("leaves", Uses::scratch().reads(SK.reg()), |a| {
        a.block("all_leave", |a, all| {
            config(a, R1, Value::ENABLED);
            if !offsets.iterators_have_storage {
                a.require(R1.equals(0), out, "the switch is off");
                return;
            }
            a.permit(R1.equals(0), all, "the switch is off");
            let own = storage_get(a, SK.reg(), false);
            a.require(R0.differs(0), out, "it has a storage");
            a.ld(R1, own, Head::LEAVING);
            a.require(R1.differs(0), out, "it is marked");
        });
    });
}

/// Goes to `waiting` while our socket is armed, or a thread of the peer may be between its verdict and our queue:
/// `tcp_bpf_sendmsg` holds a reference on its psock all the way. Without the storage helper, all depends on the time that
/// the agent lets pass.
fn no_sender_underway(a: &mut Asm, options: &Options, offsets: &KernelOffsets, peer: Peer, waiting: Label) {
    let own = Ptr::<Socket>::new(R9);
    a.emitter("sender", Uses::scratch().reads(SK.reg()).writes([R6, R9]), |a| {
        a.block("peer_quiet", |a, quiet| {
            a.set(peer.storage, 0);
            storage_get(a, SK.reg(), false);
            a.require(R0.differs(0), quiet, "it has a storage");
            a.mov(own.reg(), R0);
            if options.wakes_readers().is_some() {
                unarmed(a, own, waiting);
            }
            a.ld(R1, own, Head::STATE);
            a.require(R1.equals(socket::PAIRED), quiet, "it is paired");
            a.frame(|a| {
                a.ld(R6, own, Socket::PEER_STORAGE);
                let head = offsets.storage_head(a, Ptr::new(R6), waiting);
                a.ld(R1, head, Head::COOKIE);
                a.ld(R3, head, Head::SENT);
            });
            a.ld(R2, own, Socket::PEER_COOKIE);
            a.require(R1.equals(R2), quiet, "the peer's storage is still the peer's");
            a.set(peer.sent, R3);
            a.ld(R1, own, Socket::PEER_STORAGE);
            a.set(peer.storage, R1);
            let sk = Ptr::<TcpSock>::new(R6);
            a.ld(sk.reg(), own, Socket::PEER_SK);
            offsets.open(a, sk);
            let psock = psock(a, offsets, R6, sk, quiet, waiting);
            offsets.load_barrier(a);
            require_alone(a, offsets, psock, R9, 0, waiting);
        });
    });
}

/// Goes to `waiting` when the socket with this storage has our keepalive settings (`membership::wake_reader`), and there are
/// callbacks that will take them back.
fn unarmed(a: &mut Asm, own: Ptr<Socket>, waiting: Label) {
    a.emitter("armed", Uses::scratch().reads(own.reg()), |a| {
        a.block("not_armed", |a, unarmed| {
            a.comment("callbacks take these settings back while the switch is on, and as long as the agent says so");
            a.block("spared", |a, spared| {
                config(a, R1, Value::ENABLED);
                a.jump_if(R1.differs(0), spared);
                config(a, R1, Value::SPARE_ARMED);
                a.jump_if(R1.equals(0), unarmed);
            });
            a.ld(R1, own, Head::FLAGS);
            a.require(R1.none_of(socket::ARMED), waiting, "it is not armed");
        });
    });
}

/// Writes down for the peer how many messages it had sent when it was alone, before the last look.
fn seen_alone(a: &mut Asm, offsets: &KernelOffsets, peer: Peer, waiting: Label) {
    let own = Ptr::<Socket>::new(R9);
    a.emitter("seen_alone", Uses::scratch().reads(SK.reg()).writes(R9), |a| {
        a.block("no_peer", |a, none| {
            a.get(R1, peer.storage);
            a.jump_if(R1.equals(0), none);
            storage_get(a, SK.reg(), false);
            a.require(R0.differs(0), waiting, "it has a storage");
            a.mov(own.reg(), R0);
            a.get(R1, peer.sent);
            a.st(own, Socket::DRAIN_ALONE, R1);
            a.comment("a full barrier: the peer sees this, or we see its next message");
            offsets.full_barrier_on(a, own, Socket::DRAIN_ALONE);
        });
    });
}

/// Goes to `waiting` when the peer has sent since [`no_sender_underway`]: it may have seen a queue that was not empty.
fn no_message_since(a: &mut Asm, offsets: &KernelOffsets, peer: Peer, waiting: Label) {
    a.emitter("since", Uses::scratch().writes(R6), |a| {
        a.block("peer_still_quiet", |a, quiet| {
            a.get(R6, peer.storage);
            a.jump_if(R6.equals(0), quiet);
            let head = offsets.storage_head(a, Ptr::new(R6), waiting);
            a.ld(R1, head, Head::SENT);
            a.get(R2, peer.sent);
            a.require(R1.equals(R2), waiting, "the peer has not sent meanwhile");
        });
    });
}
