//! The beginning of the iterators over our sockets. They look at a map of storages (Linux 5.9). Where that iterator is not safe
//! (`KernelOffsets::UNSAFE_STORAGE_ITERATOR`), they look at the open files of all tasks (Linux 5.11) for sockets that have a
//! storage: a socket that several tasks have open comes several times, and one that no task has open does not.

use crate::asm::Reg::{R0, R1, R7, R8};
use crate::asm::{Asm, Field, Label, Pointer, Ptr, Uses};
use crate::dataplane::emit::storage_get;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{
    ITER_SOCKMAP, ITER_STORAGE, ITER_TASK_FILE, IterSockmap, IterStorage, IterTaskFile,
};
use crate::dataplane::kernel::objects::{Socket as KernelSocket, TcpSock};
use crate::uapi::helper::id as helper;

/// R8 = the socket, R7 = its storage, from the iterator's context; goes to `out` when it has none.
pub(super) fn each_storage(a: &mut Asm, offsets: &KernelOffsets, out: Label) {
    match offsets.sockets_by_file {
        None => of_storage(a, out),
        Some(sk) => of_file(a, sk, out),
    }
}

/// From the iterator over the sockhash: R8 = the socket, R7 = its storage; goes to `out` when there is none.
pub(super) fn each_member(a: &mut Asm, out: Label) {
    a.emitter("of_member", Uses::scratch().reads(ITER_SOCKMAP.reg()).gives([R7, R8]), |a| {
        a.comment("null in the call that ends the iteration");
        a.ld(R8, ITER_SOCKMAP, IterSockmap::SK);
        a.require(R8.differs(0), out, "there is a socket");
        storage_get(a, R8, false);
        a.require(R0.differs(0), out, "it has a storage");
        a.mov(R7, R0);
    });
}

/// From the iterator over storages.
fn of_storage(a: &mut Asm, out: Label) {
    a.emitter("of_storage", Uses::nothing().reads(ITER_STORAGE.reg()).gives([R7, R8]), |a| {
        a.comment("both are null in the call that ends the iteration");
        a.ld(R8, ITER_STORAGE, IterStorage::SK);
        a.require(R8.differs(0), out, "there is a socket");
        a.ld(R7, ITER_STORAGE, IterStorage::VALUE);
        a.require(R7.differs(0), out, "it has a storage");
    });
}

/// From the iterator over open files.
fn of_file(a: &mut Asm, sk: Field<KernelSocket, Pointer<TcpSock>>, out: Label) {
    a.emitter("of_file", Uses::scratch().reads(ITER_TASK_FILE.reg()).gives([R7, R8]), |a| {
        a.comment("null in the call that ends the iteration");
        a.ld(R1, ITER_TASK_FILE, IterTaskFile::FILE);
        a.require(R1.differs(0), out, "there is a file");
        a.call(helper::SOCK_FROM_FILE);
        a.require(R0.differs(0), out, "it is a socket");
        a.ld(R8, Ptr::<KernelSocket>::new(R0), sk);
        a.require(R8.differs(0), out, "it is not closed yet");
        storage_get(a, R8, false);
        a.require(R0.differs(0), out, "it has a storage");
        a.mov(R7, R0);
    });
}
