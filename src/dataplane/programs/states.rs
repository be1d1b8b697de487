//! The states: a BPF iterator that writes the storage of each of our sockets as it is, for `list`, `explain` and `top`. It
//! changes nothing.

use crate::asm::Reg::{R0, R1, R2, R3, R6};
use crate::asm::{self, Asm, Features, Program, Ptr};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{ITER_STORAGE, ITER_TASK_FILE, IterStorage, IterTaskFile};
use crate::dataplane::kernel::objects::IterMeta;
use crate::dataplane::programs::each_storage::each_storage;
use crate::dataplane::state::socket::OWN;
use crate::uapi::helper::id as helper;

/// Assembles the iterator for storages of this many bytes. Of the maps it names [`crate::dataplane::MapRole::Storage`], if any.
pub fn states(offsets: &KernelOffsets, size: u32) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(Features::LINUX_5_10);
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        each_storage(a, offsets, out);
        match offsets.sockets_by_file {
            None => a.ld(R1, ITER_STORAGE, IterStorage::META),
            Some(_) => a.ld(R1, ITER_TASK_FILE, IterTaskFile::META),
        }
        a.ld(R1, Ptr::<IterMeta>::new(R1), IterMeta::SEQ);
        a.mov(R2, OWN.reg());
        a.mov(R3, size.cast_signed());
        a.call(helper::SEQ_WRITE);
    });
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}
