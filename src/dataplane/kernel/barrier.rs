//! Order between the accesses of one CPU, as others see it (docs/explanation/memory-order.md).
//!
//! x86 keeps all orders but that of a store and a later load, between which any locked instruction is a full barrier. On
//! arm64 an atomic operation orders nothing unless it fetches (arch/arm64/net/bpf_jit_comp.c, Linux 5.18); then it is a full barrier.

use crate::asm::Reg::R1;
use crate::asm::{Asm, AtomicOp, BeginsWith, Field, Ptr, Slot, Uses};
use crate::dataplane::kernel::KernelOffsets;
use crate::dataplane::state::socket::{Head, OWN, Socket};

const FETCHING: AtomicOp = AtomicOp::Add { fetch: true };

impl KernelOffsets {
    /// Every access before comes before every access after. `word` is one of our own, and keeps its value. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn full_barrier(&self, a: &mut Asm, word: Field<Head, u32>) {
        self.full_barrier_on(a, OWN, word);
    }

    /// The same with a word of the state at `own`. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn full_barrier_on<F>(&self, a: &mut Asm, own: Ptr<Socket>, word: Field<F, u32>)
    where
        Socket: BeginsWith<F>,
    {
        a.idiom("barrier", Uses::nothing().reads(own.reg()).writes(R1), |a| {
            a.mov(R1, 0);
            if self.weakly_ordered {
                a.atomic_on(FETCHING, own, word, R1);
            } else {
                a.atomic_add(own, word, R1);
            }
        });
    }

    /// Every load before comes before every load after; x86 keeps that order by itself. May lose R1.
    #[track_caller]
    pub(in crate::dataplane) fn load_barrier(&self, a: &mut Asm) {
        if !self.weakly_ordered {
            return;
        }
        a.idiom("order_loads", Uses::nothing().writes(R1), |a| {
            a.frame(|a| {
                let word: Slot<u64> = a.slot("ordered");
                a.comment("a full barrier: no other CPU knows this word");
                a.set(word, 0);
                a.mov(R1, 0);
                a.atomic_on(FETCHING, word, Field::<u64, u64>::new(0), R1);
            });
        });
    }

    /// Adds 1 to `word` of our own, after every access before, and before every access after where the processor does not keep
    /// that order itself. Loses R1.
    #[track_caller]
    pub(in crate::dataplane) fn ordered_increment(&self, a: &mut Asm, word: Field<Head, u32>) {
        a.idiom("increment", Uses::nothing().reads(OWN.reg()).writes(R1), |a| {
            if self.weakly_ordered {
                a.mov(R1, 1);
                a.atomic_on(FETCHING, OWN, word, R1);
            } else {
                a.ld(R1, OWN, word);
                a.add(R1, 1);
                a.st(OWN, word, R1);
            }
        });
    }
}
