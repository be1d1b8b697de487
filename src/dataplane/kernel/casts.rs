//! How an address becomes a pointer of the kernel's own type.

/// Ids in the kernel's BTF with which `bpf_rdonly_cast` (Linux 6.2) makes a pointer to a kernel object of an address. A
/// load through it is one instruction that yields 0 where there is no memory, instead of a helper call: a fifth of the
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Casts {
    /// The kernel function `bpf_rdonly_cast`.
    pub rdonly_cast: u32,
    /// `struct tcp_sock`, which starts with its `struct sock`.
    pub tcp_sock: u32,
    /// `struct sk_psock`.
    pub sk_psock: u32,
    /// `struct bpf_sock_ops_kern`.
    pub sock_ops: u32,
    /// `struct tcp_request_sock`.
    pub request: u32,
    /// `struct sk_buff`.
    pub packet: u32,
    /// `WORDS`: our own storage as the kernel may see it.
    pub words: u32,
}

/// A structure that is nothing but numbers and larger than our storage's head, `include/uapi/linux/if_link.h`: the kernel
/// wants a type of its own for every cast.
const WORDS: &str = "rtnl_link_stats64";

impl Casts {
    /// Asks `id_of` for the id of each name; nothing when one is missing.
    pub fn resolve(mut id_of: impl FnMut(&str) -> Option<u32>) -> Option<Self> {
        Some(Self {
            rdonly_cast: id_of("bpf_rdonly_cast")?,
            tcp_sock: id_of("tcp_sock")?,
            sk_psock: id_of("sk_psock")?,
            sock_ops: id_of("bpf_sock_ops_kern")?,
            request: id_of("tcp_request_sock")?,
            packet: id_of("sk_buff")?,
            words: id_of(WORDS)?,
        })
    }
}
