//! Properties, checked on random input.

mod disasm;
mod encode;
mod labels;
mod strategies;
