//! Flags of `BPF_PROG_LOAD` (include/uapi/linux/bpf.h).

/// Demand alignment everywhere (include/uapi/linux/bpf.h).
pub(super) const BPF_F_STRICT_ALIGNMENT: u32 = 1 << 0;
/// Never demand alignment.
pub(super) const BPF_F_ANY_ALIGNMENT: u32 = 1 << 1;
/// Fill the upper halves of registers with noise where the program must not use them.
pub(super) const BPF_F_TEST_RND_HI32: u32 = 1 << 2;
/// Make a checkpoint wherever one can be.
pub(super) const BPF_F_TEST_STATE_FREQ: u32 = 1 << 3;
/// The program may sleep.
pub(super) const BPF_F_SLEEPABLE: u32 = 1 << 4;
/// For XDP only, ignored elsewhere.
pub(super) const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// The same.
pub(super) const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
/// Contradictory ranges are an error.
pub(super) const BPF_F_TEST_REG_INVARIANTS: u32 = 1 << 7;
