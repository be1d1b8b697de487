//! Objects that programs allocate, lists and trees of them, pointers into the kernel in map values, timers and work queues:
//! single rules, and random programs, all of them judged by the kernel, too.

mod crafted;
mod judges;
mod random;
mod rules;
mod types;
