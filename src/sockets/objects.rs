//! The kernel's structures that the iterator goes through, as types.

pub use crate::dataplane::objects::{File, Sock, Socket, TcpSock};

macro_rules! objects {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
    )*};
}

objects! {
    /// `struct task_struct`: a thread.
    Task;
    /// `struct inode`: a file on its file system.
    Inode;
    /// `struct net`: a network namespace.
    Net;
    /// `struct cgroup`.
    Cgroup;
    /// `struct kernfs_node`: a directory of cgroupfs.
    Node;
}
