//! The head of the peer's own state, which we read through the address that the pair keeps.

use crate::asm::{Asm, FP, Label, Reg, Size};
use crate::dataplane::kernel::probe::{PROBE_SLOT, probe_bytes};
use crate::dataplane::kernel::{KernelOffsets, Object};
use crate::dataplane::state::socket;

const _: () = assert!(socket::HEAD_SIZE == -PROBE_SLOT);

impl KernelOffsets {
    /// Reads the head of the storage at the address in `base`, which it may change, or jumps to `fail`.
    #[track_caller]
    pub(in crate::dataplane) fn storage_head(&self, a: &mut Asm, base: Reg, fail: Label) -> StorageHead {
        if self.casts.is_some() {
            self.open(a, base, Object::Storage);
            StorageHead { base, offset: 0 }
        } else {
            probe_bytes(a, socket::HEAD_SIZE.into(), base, 0, fail);
            StorageHead { base: FP, offset: PROBE_SLOT }
        }
    }
}

/// Where the head of a storage can be loaded from until the next call.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct StorageHead {
    base: Reg,
    offset: i16,
}

impl StorageHead {
    /// `dst` = the owner's cookie.
    #[track_caller]
    pub(in crate::dataplane) fn cookie(self, a: &mut Asm, dst: Reg) {
        a.load(Size::DW, dst, self.base, self.offset + socket::OWN_COOKIE);
    }

    /// `dst` = the owner's state.
    #[track_caller]
    pub(in crate::dataplane) fn state(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + socket::STATE);
    }

    /// `dst` = how many messages the owner has sent.
    #[track_caller]
    pub(in crate::dataplane) fn sent(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + socket::SENT);
    }

    /// `dst` = the owner's flags.
    #[track_caller]
    pub(in crate::dataplane) fn flags(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + socket::FLAGS);
    }
}
