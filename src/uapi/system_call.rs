//! System calls as tracing programs see them, which differs between architectures.

/// Number of splice(2): arch/x86/entry/syscalls/syscall_64.tbl, else include/uapi/asm-generic/unistd.h.
pub const SPLICE: u32 = if cfg!(target_arch = "x86_64") { 275 } else { 76 };
/// Where `struct pt_regs` has the first argument during the whole call. arm64 puts the answer into `regs[0]`, and so keeps the
/// argument elsewhere (`syscall_get_arguments`, arch/arm64/include/asm/syscall.h).
pub const FIRST_ARGUMENT: &str = if cfg!(target_arch = "x86_64") { "di" } else { "orig_x0" };
