//! The states: a BPF iterator that writes the storage of each of our sockets as it is, for `list`, `explain` and `top`. It
//! changes nothing.
//!
//! It looks where `programs::tally` looks: at a map of storages, or at the open files of all tasks, where a socket that
//! several tasks have open is written several times, and one that no task has open is not.

use crate::asm::Reg::{R0, R1, R2, R3, R6};
use crate::asm::{self, Asm, Features, Field, Helper, Label, Pointer, Program, Ptr, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{ITER_STORAGE, ITER_TASK_FILE, IterStorage, IterTaskFile};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::programs::tally;
use crate::dataplane::state::socket::OWN;
use crate::layout;

layout! {
    /// `struct bpf_iter_meta` (include/linux/bpf.h), as far as it is read.
    view Meta: 8 {
        /// Where the output goes.
        SEQ: u64 = 0;
    }
}

/// `enum bpf_func_id` (include/uapi/linux/bpf.h), Linux 5.8.
const SEQ_WRITE: Helper = Helper::new(127, 3);

/// Assembles the iterator for storages of this many bytes. Of the maps it names [`crate::dataplane::MapRole::Storage`], if any.
pub fn states(offsets: &KernelOffsets, size: u32) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        match offsets.sockets_by_file {
            None => of_storage(a, out),
            Some(sk) => of_file(a, sk, out),
        }
        a.ld(R1, Ptr::<Meta>::new(R1), Meta::SEQ);
        a.mov(R2, OWN.reg());
        a.mov(R3, size.cast_signed());
        a.call(SEQ_WRITE);
    });
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// R7 = the storage, R1 = where the output goes; to `out` when there is no storage.
fn of_storage(a: &mut Asm, out: Label) {
    a.emitter("of_storage", Uses::nothing().reads(ITER_STORAGE.reg()).gives([R1, OWN.reg()]), |a| {
        a.comment("null in the call that ends the iteration");
        a.ld(OWN.reg(), ITER_STORAGE, IterStorage::VALUE);
        a.require(OWN.reg().differs(0), out, "there is a storage");
        a.ld(R1, ITER_STORAGE, IterStorage::META);
    });
}

/// The same of an open file. Uses R8.
fn of_file(a: &mut Asm, sk: Field<crate::dataplane::kernel::objects::Socket, Pointer<TcpSock>>, out: Label) {
    tally::of_file(a, sk, out);
    a.ld(R1, ITER_TASK_FILE, IterTaskFile::META);
}
