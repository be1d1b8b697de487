//! System calls as tracing programs see them, which differs between architectures.

/// Number of splice(2): arch/x86/entry/syscalls/syscall_64.tbl, arch/s390/kernel/syscalls/syscall.tbl, else
/// include/uapi/asm-generic/unistd.h.
pub const SPLICE: u32 = if cfg!(target_arch = "x86_64") {
    275
} else if cfg!(target_arch = "s390x") {
    306
} else {
    76
};
/// Where `struct pt_regs` has the first argument during the whole call. The others put the answer into the
/// same register, and so keep the argument elsewhere (`syscall_get_arguments`, arch/{arm64,s390}/include/asm/syscall.h).
pub const FIRST_ARGUMENT: &str = if cfg!(target_arch = "x86_64") {
    "di"
} else if cfg!(target_arch = "s390x") {
    "orig_gpr2"
} else {
    "orig_x0"
};
