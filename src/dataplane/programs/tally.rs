//! The tally: a BPF iterator that counts what open connections have exchanged by the stack since the last look.
//! `membership::tally` counts the rest when they close.
//!
//! It looks at our sockets' storage (Linux 5.9). Where that iterator is not safe
//! (`KernelOffsets::UNSAFE_STORAGE_ITERATOR`), it looks at the open files of all tasks (Linux 5.11) for sockets that have a
//! storage; one that no task has open is counted when it closes.
//!
//! A socket that closes in the same instant may have its last bytes counted twice: nothing is locked.

use crate::asm::Reg::{R0, R1, R2, R6, R7, R8, R9};
use crate::asm::{self, Asm, Field, Label, Pointer, Program, Ptr, Uses};
use crate::dataplane::emit::{count, storage_get};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{ITER_STORAGE, ITER_TASK_FILE, IterStorage, IterTaskFile};
use crate::dataplane::kernel::objects::{Socket as KernelSocket, TcpSock};
use crate::dataplane::options::Options;
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};
use crate::uapi::helper::id as helper;

pub(in crate::dataplane) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        match offsets.sockets_by_file {
            None => of_storage(a, out),
            Some(sk) => of_file(a, sk, out),
        }
        a.ld(R1, OWN, Head::FLAGS);
        a.require(R1.any_of(socket::LOCAL), out, "it counts for its connection");
        let sk: Ptr<TcpSock> = offsets.behind(a, R9, R8, out);
        offsets.read(a, R8, sk, offsets.bytes_acked, out);
        offsets.read(a, R1, sk, offsets.bytes_received, out);
        a.add(R8, R1);
        a.mov(R9, R8);
        a.ld(R2, OWN, Socket::TALLIED);
        a.st(OWN, Socket::TALLIED, R8);
        a.sub(R9, R2);
        count(a, Counter::StackBytes, R9);
    });
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// R8 = the socket, R7 = its storage, from the context of the iterator over storages; goes to `out` when it has none.
fn of_storage(a: &mut Asm, out: Label) {
    a.emitter("of_storage", Uses::nothing().reads(ITER_STORAGE.reg()).gives([R7, R8]), |a| {
        a.comment("both are null in the call that ends the iteration");
        a.ld(R8, ITER_STORAGE, IterStorage::SK);
        a.require(R8.differs(0), out, "there is a socket");
        a.ld(R7, ITER_STORAGE, IterStorage::VALUE);
        a.require(R7.differs(0), out, "it has a storage");
    });
}

/// The same from the context of the iterator over open files.
pub(super) fn of_file(a: &mut Asm, sk: Field<KernelSocket, Pointer<TcpSock>>, out: Label) {
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
