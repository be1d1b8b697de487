//! Reading kernel memory whose address we hold, in one of two ways that never fault.
//!
//! With [`Casts`](super::Casts) the address becomes a pointer of the kernel's own type, and a field is one load;
//! without, it stays a number and a field is a call of `bpf_probe_read_kernel`. The emitted checks are the same.

use super::KernelOffsets;
use super::emit::{PROBE_SLOT, number_of, probe, probe_bytes};
use super::storage;
use crate::asm::Reg::{self, R0, R1, R2};
use crate::asm::{Asm, FP, Label, Size};

/// What an address is the address of.
#[derive(Clone, Copy)]
pub(super) enum Object {
    /// `struct tcp_sock`, and so `struct sock`.
    Sock,
    /// `struct sk_psock`.
    Psock,
    /// A socket's storage.
    Storage,
    /// `struct bpf_sock_ops_kern`, which is what the context of a sock_ops program really is.
    SockOps,
    /// `struct tcp_request_sock`.
    Request,
    /// A number, wherever it is.
    Word,
}

impl KernelOffsets {
    /// `dst` (R6 to R9) = the kernel object behind the pointer register `pointer`, opened.
    #[track_caller]
    pub(super) fn behind(&self, a: &mut Asm, dst: Reg, pointer: Reg, object: Object, fail: Label) {
        if self.casts.is_some() {
            a.mov(dst, pointer);
            self.open(a, dst, object);
        } else {
            number_of(a, dst, pointer, fail);
        }
    }

    /// Makes the address in `reg` (R6 to R9) ready for [`Self::read`]. Loses R0 to R5.
    #[track_caller]
    pub(super) fn open(&self, a: &mut Asm, reg: Reg, object: Object) {
        let Some(casts) = &self.casts else { return };
        let id = match object {
            Object::Sock => casts.tcp_sock,
            Object::Psock => casts.sk_psock,
            Object::Storage | Object::Word => casts.words,
            Object::SockOps => casts.sock_ops,
            Object::Request => casts.request,
        };
        a.mov(R1, reg);
        a.mov(R2, id as i32);
        a.call_kfunc(casts.rdonly_cast as i32, 0);
        a.mov(reg, R0);
    }

    /// `dst` = the field at `base + offset`; `base` has been opened, or is a pointer read this way. Where there is no
    /// memory: 0, or a jump to `fail`. Loses R0 to R5 but `dst`.
    #[track_caller]
    pub(super) fn read(&self, a: &mut Asm, dst: Reg, size: Size, base: Reg, offset: u16, fail: Label) {
        if self.casts.is_some() {
            a.load(size, dst, base, offset as i16);
        } else {
            probe(a, dst, size, base, i32::from(offset), fail);
        }
    }

    /// `reg` (R6 to R9, an address or a pointer) = the 8 bytes at `reg + offset`, as a number. Fails as [`Self::read`] does.
    #[track_caller]
    pub(super) fn follow(&self, a: &mut Asm, reg: Reg, offset: u16, fail: Label) {
        if self.casts.is_some() {
            if offset != 0 {
                a.add(reg, i32::from(offset));
            }
            self.open(a, reg, Object::Word);
            a.load(Size::DW, reg, reg, 0);
        } else {
            probe(a, reg, Size::DW, reg, i32::from(offset), fail);
        }
    }

    /// Reads the head of the storage at the address in `base`, which it may change, or jumps to `fail`.
    #[track_caller]
    pub(super) fn storage_head(&self, a: &mut Asm, base: Reg, fail: Label) -> StorageHead {
        if self.casts.is_some() {
            self.open(a, base, Object::Storage);
            StorageHead { base, offset: 0 }
        } else {
            probe_bytes(a, storage::HEAD_SIZE.into(), base, 0, fail);
            StorageHead { base: FP, offset: PROBE_SLOT }
        }
    }
}

/// Where the head of a storage can be loaded from until the next call.
#[derive(Clone, Copy)]
pub(super) struct StorageHead {
    base: Reg,
    offset: i16,
}

impl StorageHead {
    /// `dst` = the owner's cookie.
    #[track_caller]
    pub(super) fn cookie(self, a: &mut Asm, dst: Reg) {
        a.load(Size::DW, dst, self.base, self.offset + storage::OWN_COOKIE);
    }

    /// `dst` = the owner's state.
    #[track_caller]
    pub(super) fn state(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + storage::STATE);
    }

    /// `dst` = how many messages the owner has sent.
    #[track_caller]
    pub(super) fn sent(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + storage::SENT);
    }

    /// `dst` = the owner's flags.
    #[track_caller]
    pub(super) fn flags(self, a: &mut Asm, dst: Reg) {
        a.load(Size::W, dst, self.base, self.offset + storage::FLAGS);
    }
}
