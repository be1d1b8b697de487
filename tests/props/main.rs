//! Properties, checked on random input.

mod contracts;
mod disasm;
mod encode;
mod flow;
mod frame;
mod labels;
mod llvm;
mod strategies;
