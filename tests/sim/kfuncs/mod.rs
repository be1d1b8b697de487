//! Kernel functions (kfuncs), iterators on the stack and kernel variables: who may call what, single rules, and random programs,
//! all of them judged by the kernel, too.

mod judges;
mod permission;
mod random;
mod rules;

/// What a refusal because of the type of program says.
const FORBIDDEN: &str = "is not allowed";
