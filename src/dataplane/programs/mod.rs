//! The programs, one file each.

pub(in crate::dataplane) mod dispatcher;
pub(in crate::dataplane) mod drain;
pub(in crate::dataplane) mod opt_out;
pub(in crate::dataplane) mod sk_msg;
pub(in crate::dataplane) mod sock_ops;
