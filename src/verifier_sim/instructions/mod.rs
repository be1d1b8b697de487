//! The instructions: what each demands of the state, and how it changes it.

pub(super) mod alu;
mod callback;
pub(super) mod conditional;
pub(super) mod ctx;
pub(super) mod global;
mod kernel_pointer;
pub(super) mod mem;
pub(super) mod object;
pub(super) mod packet;
pub(super) mod pointer;
pub(super) mod speculation;
pub(super) mod stack_access;
pub(super) mod structure;
pub(super) mod subprog;
