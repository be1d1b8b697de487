//! Cgroups that opt out, or are trusted: a second sock_ops program, attached to each of them, marks their sockets.
//!
//! Of the programs that a socket's cgroup and those above it have, the innermost cgroup's run first
//! (`compute_effective_progs`, kernel/bpf/cgroup.c). So the mark is there when the program of the accelerated cgroup
//! looks for it, for cgroups below the one named as well, without reading a cgroup's number out of kernel memory.

use crate::asm::Reg::{R0, R1, R6, R8};
use crate::asm::{self, Asm, Features, Program, Ptr};
use crate::dataplane::emit::storage_get;
use crate::dataplane::kernel::ctx::{SOCK_OPS, SockOps};
use crate::dataplane::state::socket::{self, Head, Socket};
use crate::uapi::ctx::sock_ops;

/// The program that marks sockets as opted out. As the other one it never touches `reply` and always returns 1.
pub(in crate::dataplane) fn opted_out() -> Result<Program, asm::Error> {
    build(|a, storage| a.st(storage, Head::STATE, socket::OPTED_OUT))
}

/// The program that marks sockets as trusted to be read by recvmsg.
pub(in crate::dataplane) fn trusted() -> Result<Program, asm::Error> {
    build(|a, storage| a.st(storage, Head::READER, socket::ANY))
}

fn build(mark: impl FnOnce(&mut Asm, Ptr<Socket>)) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        a.block("established", |a, established| {
            a.ld(R1, SOCK_OPS, SockOps::OP);
            a.permit(R1.equals(sock_ops::ACTIVE_ESTABLISHED), established, "an active end is established");
            a.require(R1.equals(sock_ops::PASSIVE_ESTABLISHED), out, "or a passive one");
        });
        a.ld(R8, SOCK_OPS, SockOps::SK);
        a.require(R8.differs(0), out, "there is a socket");
        let storage = storage_get(a, R8, true);
        a.require(R0.differs(0), out, "there is memory for its storage");
        mark(a, storage);
    });
    a.mov(R0, 1);
    a.exit();
    asm.finish()
}
