//! Another tool's sock_ops program on the same cgroup. It answers 0 when the kernel asks for the length of a packet's options; then
//! the kernel does not ask any program to write them.

use std::os::fd::{AsFd, AsRawFd};

use sidestep::asm::Reg::{R0, R1, R2};
use sidestep::asm::{Asm, Cond, Size};
use sidestep::syscall::cgroup::Cgroup;
use sidestep::syscall::{Link, LinkTarget, ProgSpec, Program};
use sidestep::uapi::ctx::sock_ops;
use sidestep::uapi::{AttachType, ProgType};

use crate::nested::NestedCgroups;

/// Attaches it until the answer is dropped.
pub(crate) fn attach(cgroups: &NestedCgroups) -> Link {
    let mut asm = Asm::new();
    let refused = asm.label("refused");
    asm.mov(R0, 0);
    asm.load(Size::W, R2, R1, sock_ops::OP);
    asm.jump(Cond::Eq, R2, sock_ops::HDR_OPT_LEN, refused);
    asm.mov(R0, 1);
    asm.bind(refused);
    asm.exit();
    let insns = asm.finish().unwrap().encode_native(|_| None).unwrap();
    let program = Program::load(&ProgSpec::new("t_refuser", ProgType::SOCK_OPS, &insns)).unwrap();
    let cgroup = Cgroup::open(&cgroups.path()).unwrap();
    Link::create(program.as_fd(), LinkTarget::Fd(cgroup.as_fd()), AttachType::CGROUP_SOCK_OPS).unwrap()
}

/// Whether the size of a socket's receive buffer is fixed: `SO_BUF_LOCK` says so (Linux 5.14).
pub(crate) fn is_fixed(socket: &impl AsRawFd) -> bool {
    /// `SO_BUF_LOCK` of include/uapi/asm-generic/socket.h, `SOCK_RCVBUF_LOCK` of include/uapi/linux/socket.h.
    const BUF_LOCK: libc::c_int = 72;
    const RCVBUF_LOCK: u32 = 2;
    let (mut locks, mut size) = (0_u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: both addresses are of variables that live through the call, and the second says how large the first one is.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, BUF_LOCK, (&raw mut locks).cast(), &raw mut size)
    };
    assert_eq!(result, 0, "SO_BUF_LOCK: {}", std::io::Error::last_os_error());
    locks & RCVBUF_LOCK != 0
}
