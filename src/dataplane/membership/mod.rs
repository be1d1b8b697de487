//! How a socket enters the sockhash, how it leaves, and what happens to it meanwhile.

pub(in crate::dataplane) mod callbacks;
pub(in crate::dataplane) mod changes;
pub(in crate::dataplane) mod clamp;
pub(in crate::dataplane) mod closing;
pub(in crate::dataplane) mod enroll;
pub(in crate::dataplane) mod keepalive;
pub(in crate::dataplane) mod tally;
pub(in crate::dataplane) mod unenroll;
pub(in crate::dataplane) mod wake_reader;
pub(in crate::dataplane) mod window;
