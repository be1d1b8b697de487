//! The kernel's structures that the iterator goes through, as types.

use crate::dataplane::objects::objects;

pub use crate::dataplane::objects::{File, Sock, Socket, TcpSock};

objects! {
    /// `struct task_struct`: a thread.
    Task;
    /// `struct inode`: a file on its file system.
    Inode;
    /// `struct super_block`: a mounted file system.
    SuperBlock;
    /// `struct net`: a network namespace.
    Net;
    /// `struct cgroup`.
    Cgroup;
    /// `struct kernfs_node`: a directory of cgroupfs.
    Node;
}
