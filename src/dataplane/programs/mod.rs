//! The programs, one file each.

pub(in crate::dataplane) mod adopt;
pub(in crate::dataplane) mod dispatcher;
pub(in crate::dataplane) mod drain;
mod each_storage;
pub(in crate::dataplane) mod mark;
pub(in crate::dataplane) mod members;
mod process;
pub(in crate::dataplane) mod receives;
pub(in crate::dataplane) mod sk_msg;
pub(in crate::dataplane) mod sock_ops;
pub(in crate::dataplane) mod splices;
pub(in crate::dataplane) mod states;
pub(in crate::dataplane) mod tally;
