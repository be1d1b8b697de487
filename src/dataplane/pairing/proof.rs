//! The proof that two sockets are the ends of one connection: each has received a packet that the other one has sent.
//!
//! Sequence numbers and addresses only nominate a peer: neither is secret, and a socket can be made with any of them
//! (TCP_REPAIR). But Linux draws a random number for each socket and for each request that a listener answers
//! (`net_tx_rndhash`, include/net/sock.h), and marks every packet that they send with it: `sk_buff.hash`
//! (`skb_set_hash_from_sk`; `tcp_make_synack`). The mark is not part of the packet's bytes. It stays with the packet through
//! loopback, veth, bridges, netfilter's NAT and network namespaces, and no process can read or set it; a packet that comes
//! from another node, or that a raw socket has made, has a mark of another origin. So
//!
//! - the active end has received the passive end's SYN-ACK if that carries the mark of the listener's request;
//! - the passive end has received the active end's ACK if that carries the active end's mark.
//!
//! Both must hold. What something on the way has taken the mark from stays on the stack.
//!
//! Without a view of kernel memory the proof is the cookie of the network namespace: inside a namespace the kernel gives
//! equal numbers and mirrored addresses to two ends of one connection only, and a process that may change that
//! (CAP_NET_ADMIN there) is in the way of all packets of the namespace.

use crate::asm::Reg::{R0, R1, R8, R9};
use crate::asm::{Asm, Label, Place, Ptr, Uses};
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::kernel::objects::{Packet, SockOpsKern, TcpSock};
use crate::dataplane::options::{Options, Side, Tier};
use crate::dataplane::pairing::address;
use crate::dataplane::state::record::Proof;
use crate::uapi::net;

/// Writes the proof, as `side` sees it in the callback of an established connection, or jumps to `none`. Uses R9.
#[track_caller]
pub(in crate::dataplane) fn seen(a: &mut Asm, options: &Options, side: Side, to: Place<Proof>, none: Label) {
    let (own, received) = match side {
        Side::Active => (Proof::ACTIVE_MARK, Proof::PASSIVE_MARK),
        Side::Passive => (Proof::PASSIVE_MARK, Proof::ACTIVE_MARK),
    };
    a.emitter("proof", Uses::scratch().reads(SOCK_OPS.reg()).writes(R9), |a| match &options.tier {
        Tier::Gated(offsets) => {
            a.comment("the mark of the packet that concludes the handshake; a socket under TCP_REPAIR has none");
            let context: Ptr<SockOpsKern> = offsets.behind(a, R9, SOCK_OPS.reg(), none);
            let packet = Ptr::<Packet>::new(R9);
            offsets.read(a, packet.reg(), context, offsets.ops_skb, none);
            offsets.open(a, packet);
            offsets.read(a, R1, packet, offsets.packet_hash, none);
            a.require(R1.differs(0), none, "the packet is marked");
            a.st(to, received, R1);
            a.ld(R1, SOCK_OPS, SockOps::SK_TXHASH);
            a.st(to, own, R1);
        }
        Tier::Sticky => {
            address::netns_cookie(a);
            a.st(to, Proof::WORD, R0);
        }
    });
}

/// Passive end: goes on when our socket comes from a listener. One that has called connect(2) and met another that did
/// (simultaneous open) goes to `connected`. R8 is the socket; uses R9.
#[track_caller]
pub(in crate::dataplane) fn require_listener(a: &mut Asm, options: &Options, connected: Label) {
    a.emitter("listener", Uses::scratch().reads([SOCK_OPS.reg(), R8]).writes(R9), |a| match &options.tier {
        Tier::Gated(offsets) => {
            let sk: Ptr<TcpSock> = offsets.behind(a, R9, R8, connected);
            offsets.read(a, R1, sk, offsets.socket, connected);
            a.require(R1.equals(0), connected, "it had no file before it was established");
        }
        Tier::Sticky => {
            a.ld(R1, SOCK_OPS, SockOps::SKB_TCP_FLAGS);
            a.require(R1.none_of(net::TCPHDR_SYN), connected, "the packet is not a SYN-ACK");
        }
    });
}
