//! Cgroups that opt out: a second sock_ops program, attached to each of them, marks their sockets.
//!
//! Of the programs that a socket's cgroup and those above it have, the innermost cgroup's run first
//! (`compute_effective_progs`, kernel/bpf/cgroup.c). So the mark is there when the program of the accelerated cgroup
//! looks for it, for cgroups below the one named as well, without reading a cgroup's number out of kernel memory.

use crate::asm::Reg::{R0, R1, R6, R8};
use crate::asm::{self, Asm, Cond, Features, Program, Size};
use crate::dataplane::emit::storage_get;
use crate::dataplane::state::socket;
use crate::uapi::ctx::sock_ops;

/// The program that marks. As the other one it never touches `reply` and always returns 1.
pub(in crate::dataplane) fn build() -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    let [established, out] = ["established", "out"].map(|name| a.label(name));
    a.mov(R6, R1);
    a.load(Size::W, R1, R6, sock_ops::OP);
    a.jump(Cond::Eq, R1, sock_ops::ACTIVE_ESTABLISHED, established);
    a.jump(Cond::Ne, R1, sock_ops::PASSIVE_ESTABLISHED, out);
    a.bind(established);
    a.load(Size::DW, R8, R6, sock_ops::SK);
    a.jump(Cond::Eq, R8, 0, out);
    storage_get(a, R8, true);
    a.jump(Cond::Eq, R0, 0, out);
    a.store(Size::W, R0, socket::STATE, socket::OPTED_OUT);
    a.bind(out);
    a.mov(R0, 1);
    a.exit();
    asm.finish()
}
