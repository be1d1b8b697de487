//! The tally: a BPF iterator over our sockets' storage (Linux 5.9) that counts what open connections have exchanged by the
//! stack since the last look. `membership::tally` counts the rest when they close.
//!
//! A socket that closes in the same instant may have its last bytes counted twice: nothing is locked.

use crate::asm::Reg::{R0, R1, R2, R6, R7, R8, R9};
use crate::asm::{self, Asm, Program, Ptr};
use crate::dataplane::emit::count;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::ctx::{ITER_STORAGE, IterStorage};
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::Options;
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

pub(in crate::dataplane) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        a.comment("both are null in the call that ends the iteration");
        a.ld(R8, ITER_STORAGE, IterStorage::SK);
        a.require(R8.differs(0), out, "there is a socket");
        a.ld(R7, ITER_STORAGE, IterStorage::VALUE);
        a.require(R7.differs(0), out, "it has a storage");
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
