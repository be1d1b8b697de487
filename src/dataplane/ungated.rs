//! Ungated redirection, the method of Intel's article "Accelerate Istio Dataplane with eBPF, Part 1": each established socket
//! enters a sockhash under its addresses, and each of its messages goes into the queue of the socket with the mirrored
//! addresses, if there is one.
//!
//! Nothing keeps bytes in order, nothing bounds the memory that unread messages pin, and addresses of two network namespaces
//! may be the same. So only the benchmark can load it, to show what the gate costs and saves: it is not a variant of
//! [`Options`](super::Options), and is not compiled without the benchmark.

use crate::asm::Reg::{R0, R1, R2, R3, R4, R6};
use crate::asm::{self, Asm, Features, Program, Slot};
use crate::dataplane::kernel::ctx::{SK_MSG, SOCK_OPS, SkMsg, SockOps};
use crate::dataplane::state::{MapDef, MapKind, MapRole};
use crate::layout;
use crate::uapi::ctx::sock_ops;
use crate::uapi::flags;
use crate::uapi::helper::id as helper;
use crate::uapi::net::AF_INET6;

layout! {
    /// The key of a socket, as it sees itself. IPv4 only, as in the article.
    struct Key: 16 {
        /// Network byte order.
        LOCAL: u32 = 0;
        /// Network byte order.
        REMOTE: u32 = 4;
        /// Host byte order.
        LOCAL_PORT: u32 = 8;
        /// Host byte order.
        REMOTE_PORT: u32 = 12;
    }
}

/// Sockets that can be in the sockhash: more than any row of the benchmark has.
const MAX_SOCKETS: u32 = 65_536;

/// Both programs and their one map.
#[derive(Debug)]
pub(crate) struct Ungated {
    /// `BPF_PROG_TYPE_SOCK_OPS`, to attach to a cgroup.
    pub(crate) sock_ops: Program,
    /// `BPF_PROG_TYPE_SK_MSG`, to attach to the sockhash.
    pub(crate) sk_msg: Program,
    /// The sockhash.
    pub(crate) sockets: MapDef,
}

/// Assembles both programs. Fails only when the assembler finds a fault in our own code.
pub(crate) fn ungated() -> Result<Ungated, asm::Error> {
    let sockets = MapDef {
        role: MapRole::Sockets,
        kind: MapKind::SockHash,
        key_size: Key::SIZE as u32,
        value_size: 4,
        max_entries: MAX_SOCKETS,
        flags: 0,
    };
    Ok(Ungated { sock_ops: enter()?, sk_msg: redirect()?, sockets })
}

/// Puts each socket that is established into the sockhash.
fn enter() -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    let key: Slot<Key> = a.slot("key");
    a.mov(R6, R1);
    a.block("out", |a, out| {
        a.block("established", |a, established| {
            a.ld(R1, SOCK_OPS, SockOps::OP);
            a.permit(R1.equals(sock_ops::ACTIVE_ESTABLISHED), established, "it has connected");
            a.require(R1.equals(sock_ops::PASSIVE_ESTABLISHED), out, "it has been accepted");
        });
        a.ld(R1, SOCK_OPS, SockOps::FAMILY);
        a.require(R1.differs(AF_INET6), out, "it is IPv4");
        a.ld(R1, SOCK_OPS, SockOps::LOCAL_IP4);
        a.st(key, Key::LOCAL, R1);
        a.ld(R1, SOCK_OPS, SockOps::REMOTE_IP4);
        a.st(key, Key::REMOTE, R1);
        a.ld(R1, SOCK_OPS, SockOps::LOCAL_PORT);
        a.st(key, Key::LOCAL_PORT, R1);
        a.ld(R1, SOCK_OPS, SockOps::REMOTE_PORT);
        a.to_be(R1, 32);
        a.st(key, Key::REMOTE_PORT, R1);
        a.mov(R1, SOCK_OPS.reg());
        a.load_map(R2, MapRole::Sockets.map_ref());
        a.addr(R3, key);
        a.mov(R4, flags::ANY);
        a.call(helper::SOCK_HASH_UPDATE);
    });
    a.mov(R0, 1);
    a.exit();
    asm.finish()
}

/// Redirects each message to the socket with the mirrored addresses.
fn redirect() -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    let key: Slot<Key> = a.slot("key");
    a.mov(R6, R1);
    a.ld(R1, SK_MSG, SkMsg::REMOTE_IP4);
    a.st(key, Key::LOCAL, R1);
    a.ld(R1, SK_MSG, SkMsg::LOCAL_IP4);
    a.st(key, Key::REMOTE, R1);
    a.ld(R1, SK_MSG, SkMsg::REMOTE_PORT);
    a.to_be(R1, 32);
    a.st(key, Key::LOCAL_PORT, R1);
    a.ld(R1, SK_MSG, SkMsg::LOCAL_PORT);
    a.st(key, Key::REMOTE_PORT, R1);
    a.mov(R1, SK_MSG.reg());
    a.load_map(R2, MapRole::Sockets.map_ref());
    a.addr(R3, key);
    a.mov(R4, flags::F_INGRESS);
    a.call(helper::MSG_REDIRECT_HASH);
    a.comment("whatever the helper says: SK_DROP, for a peer that is absent, would poison the sender");
    a.mov(R0, flags::SK_PASS);
    a.exit();
    asm.finish()
}
