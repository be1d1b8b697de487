//! Reading kernel memory whose address we hold, in one of two ways that never fault.
//!
//! With [`Casts`](crate::dataplane::Casts) the address becomes a pointer of the kernel's own type, and a field is one load;
//! without, it stays a number and a field is a call of `bpf_probe_read_kernel`. The emitted checks are the same.

use crate::asm::Reg::{self, R0, R1, R2};
use crate::asm::{Asm, Label, Size};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::probe::{number_of, probe};

/// What an address is the address of.
#[derive(Clone, Copy)]
pub(in crate::dataplane) enum Object {
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
    pub(in crate::dataplane) fn behind(&self, a: &mut Asm, dst: Reg, pointer: Reg, object: Object, fail: Label) {
        if self.casts.is_some() {
            a.mov(dst, pointer);
            self.open(a, dst, object);
        } else {
            number_of(a, dst, pointer, fail);
        }
    }

    /// Makes the address in `reg` (R6 to R9) ready for [`Self::read`]. Loses R0 to R5.
    #[track_caller]
    pub(in crate::dataplane) fn open(&self, a: &mut Asm, reg: Reg, object: Object) {
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
    pub(in crate::dataplane) fn read(&self, a: &mut Asm, dst: Reg, size: Size, base: Reg, offset: u16, fail: Label) {
        if self.casts.is_some() {
            a.load(size, dst, base, offset as i16);
        } else {
            probe(a, dst, size, base, i32::from(offset), fail);
        }
    }

    /// `reg` (R6 to R9, an address or a pointer) = the 8 bytes at `reg + offset`, as a number. Fails as [`Self::read`] does.
    #[track_caller]
    pub(in crate::dataplane) fn follow(&self, a: &mut Asm, reg: Reg, offset: u16, fail: Label) {
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
}
