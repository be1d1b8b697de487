//! The kernel's structures as types: a register that holds the address of one is a `Ptr` of its type, and only its fields
//! can be read through it.

use crate::asm::{BeginsWith, Laid, Pointer};
use crate::dataplane::kernel::casts::Casts;
use crate::layout;

/// Declares structures of which only the address is used.
macro_rules! objects {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
    )*};
}

// For the structures of `crate::sockets`.
#[cfg(feature = "syscall")]
pub(crate) use objects;

objects! {
    /// `struct sock`.
    Sock;
    /// `struct tcp_sock`, which begins with its `struct sock`.
    TcpSock;
    /// `struct socket`, by which a file knows its socket.
    Socket;
    /// `struct file`.
    File;
    /// `struct proto`: a protocol.
    Proto;
    /// `struct sk_psock`, which a socket has while it is in a socket map.
    Psock;
    /// `struct bpf_sock_ops_kern`: what the context of a sock_ops program really is.
    SockOpsKern;
    /// `struct tcp_request_sock`: a connection that is not established yet.
    Request;
    /// `struct sk_buff`: a packet.
    Packet;
    /// `struct socket_wq`: who waits for a socket.
    WaitQueue;
    /// `struct eppoll_entry`: one entry of a wait queue that belongs to an epoll instance.
    PollEntry;
    /// `struct epitem`: what an epoll instance watches.
    EpollItem;
    /// `struct mem_cgroup`: a memory group.
    MemoryGroup;
    /// `struct page_counter`.
    PageCounter;
    /// `struct cgroup`, which begins with its `struct cgroup_subsys_state`.
    Cgroup;
    /// `struct kernfs_node`: a cgroup's directory.
    Directory;
    /// `struct task_struct`: a thread.
    Task;
    /// `struct files_struct`: what it has open.
    Files;
    /// `struct fdtable`: the same by descriptor.
    FileTable;
    /// `struct inode`: what a file is of.
    Inode;
    /// `struct pt_regs`: the registers of a system call.
    Registers;
}

impl BeginsWith<Sock> for TcpSock {}

/// Embedded in others, and of a size that differs between kernels: only its own fields are read.
impl Laid for PageCounter {
    const BYTES: usize = 0;
    const ALIGN: usize = 8;
}

layout! {
    /// `struct list_head` (include/linux/types.h). A list is empty when its head points to itself.
    pub struct ListHead: 16 {
        /// The next entry.
        NEXT: Pointer<ListHead> = 0;
        /// The entry before.
        PREVIOUS: Pointer<ListHead> = 8;
    }
}

layout! {
    /// `struct bpf_iter_meta` (include/linux/bpf.h), as far as it is read.
    pub view IterMeta: 8 {
        /// Where the output goes.
        SEQ: u64 = 0;
    }
}

layout! {
    /// 8 bytes anywhere.
    pub struct Word: 8 {
        /// All of them.
        VALUE: u64 = 0;
    }
}

/// An object whose address can be made a pointer of the kernel's own type (`bpf_rdonly_cast`).
pub(in crate::dataplane) trait Object {
    /// The type to which it is cast.
    fn cast(casts: &Casts) -> u32;
}

macro_rules! casts {
    ($($object:ident $id:ident;)*) => {$(
        impl Object for $object {
            fn cast(casts: &Casts) -> u32 {
                casts.$id
            }
        }
    )*};
}

casts! {
    TcpSock tcp_sock;
    Psock sk_psock;
    SockOpsKern sock_ops;
    Request request;
    Packet packet;
    Word words;
}
