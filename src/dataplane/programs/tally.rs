//! The tally: a BPF iterator that counts what open connections have exchanged by the stack since the last look.
//! `membership::tally` counts the rest when they close.
//!
//! Where it looks at open files (`programs::each_storage`), a socket that no task has open is counted when it closes. A socket that closes in the same instant may have its last bytes counted twice: nothing is locked.

use crate::asm::Reg::{R0, R1, R2, R6, R8, R9};
use crate::asm::{self, Asm, Program, Ptr};
use crate::dataplane::emit::count;
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::kernel::objects::TcpSock;
use crate::dataplane::options::Options;
use crate::dataplane::programs::each_storage::each_storage;
use crate::dataplane::state::Counter;
use crate::dataplane::state::socket::{self, Head, OWN, Socket};

pub(in crate::dataplane) fn build(options: &Options, offsets: &KernelOffsets) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(options.features());
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        each_storage(a, offsets, out);
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
