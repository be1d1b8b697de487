//! What a program is to be: plain data, no kernel needed.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

macro_rules! numbered {
    ($(#[$doc:meta])* $enum:ident { $($(#[$variant_doc:meta])* $name:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$variant_doc])* $name,)* /// Another one, by number.
            Other(u32) }

        impl $enum {
            /// The kernel's number.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $value,)* Self::Other(number) => number }
            }
            /// The one with the kernel's `number`.
            pub fn from_number(number: u32) -> Self {
                match number { $($value => Self::$name,)* number => Self::Other(number) }
            }
            /// The kernel's name in lower case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Other(_) => "other" }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    Self::Other(number) => write!(f, "type {number}"),
                    known => f.write_str(known.name()),
                }
            }
        }
    };
}

numbered! {
    /// `enum bpf_prog_type` of `include/uapi/linux/bpf.h`.
    ProgType {
        /// On packets of a socket.
        SocketFilter = 1, "socket_filter";
        /// On probed kernel functions.
        Kprobe = 2, "kprobe";
        /// Traffic control classifier.
        SchedCls = 3, "sched_cls";
        /// On static trace points.
        Tracepoint = 5, "tracepoint";
        /// In the network driver.
        Xdp = 6, "xdp";
        /// On packets of a cgroup's sockets.
        CgroupSkb = 8, "cgroup_skb";
        /// On socket creation and binding in a cgroup.
        CgroupSock = 9, "cgroup_sock";
        /// On TCP events of a cgroup's sockets.
        SockOps = 13, "sock_ops";
        /// On received data of a socket map's members.
        SkSkb = 14, "sk_skb";
        /// On messages sent by a socket map's members.
        SkMsg = 16, "sk_msg";
        /// On trace points, unprocessed arguments.
        RawTracepoint = 17, "raw_tracepoint";
        /// On connect, bind and sendto addresses in a cgroup.
        CgroupSockAddr = 18, "cgroup_sock_addr";
        /// On socket options in a cgroup.
        CgroupSockopt = 25, "cgroup_sockopt";
        /// BTF-typed trace points, function entries and exits, and iterators.
        Tracing = 26, "tracing";
        /// Replacement of a kernel's table of functions.
        StructOps = 27, "struct_ops";
        /// Security hooks.
        Lsm = 29, "lsm";
        /// Listener choice.
        SkLookup = 30, "sk_lookup";
        /// Run from user space only.
        Syscall = 31, "syscall";
    }
}

numbered! {
    /// `enum bpf_attach_type` of `include/uapi/linux/bpf.h`.
    AttachType {
        /// Packets into a cgroup's sockets.
        CgroupInetIngress = 0, "cgroup_inet_ingress";
        /// Packets out of a cgroup's sockets.
        CgroupInetEgress = 1, "cgroup_inet_egress";
        /// TCP events in a cgroup.
        CgroupSockOps = 3, "cgroup_sock_ops";
        /// Messages sent by the members of a socket map.
        SkMsgVerdict = 7, "sk_msg_verdict";
        /// IPv4 connect(2) in a cgroup.
        CgroupInet4Connect = 10, "cgroup_inet4_connect";
        /// IPv6 connect(2) in a cgroup.
        CgroupInet6Connect = 11, "cgroup_inet6_connect";
        /// setsockopt(2) in a cgroup.
        CgroupSetsockopt = 22, "cgroup_setsockopt";
        /// BTF-typed trace point.
        TraceRawTp = 23, "trace_raw_tp";
        /// Function entry.
        TraceFentry = 24, "trace_fentry";
        /// Function exit.
        TraceFexit = 25, "trace_fexit";
        /// Iterator.
        TraceIter = 28, "trace_iter";
        /// Data received by the members of a socket map.
        SkSkbVerdict = 38, "sk_skb_verdict";
    }
}

/// Types and source lines of a program, in the binary form of `struct bpf_func_info` and `struct bpf_line_info`.
#[derive(Clone, Copy, Debug)]
pub struct DebugInfo<'a> {
    /// A loaded BTF object that the records refer to.
    pub btf: BorrowedFd<'a>,
    /// Records of `struct bpf_func_info` (8 bytes each); empty for none.
    pub func_info: &'a [u8],
    /// Records of `struct bpf_line_info` (16 bytes each); empty for none.
    pub line_info: &'a [u8],
}

/// What BPF_PROG_LOAD is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ProgSpec<'a> {
    /// At most 15 bytes of letters, digits, `_` and `.`.
    pub name: &'a str,
    /// The kind of program.
    pub prog_type: ProgType,
    /// Where it is to be attached, for the types that want to know at load time.
    pub expected_attach_type: Option<AttachType>,
    /// Instructions, 8 bytes each, in this machine's byte order.
    pub insns: &'a [u8],
    /// The licence declared to the kernel; many helpers want one compatible with the GPL.
    pub license: &'a CStr,
    /// `BPF_F_STRICT_ALIGNMENT` and its kin.
    pub flags: u32,
    /// The BTF id of the kernel's function, trace point or iterator it attaches to; 0 for none.
    pub attach_btf_id: u32,
    /// Types and source lines.
    pub debug: Option<DebugInfo<'a>>,
    /// How much the verifier writes when the program is refused: bits 1 (branches), 2 (every instruction), 4
    /// (statistics); [`ProgSpec::new`] sets 1.
    pub log_level: u32,
}

impl<'a> ProgSpec<'a> {
    /// A program under `GPL`, without flags and debug information.
    pub fn new(name: &'a str, prog_type: ProgType, insns: &'a [u8]) -> Self {
        Self {
            name,
            prog_type,
            expected_attach_type: None,
            insns,
            license: c"GPL",
            flags: 0,
            attach_btf_id: 0,
            debug: None,
            log_level: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_the_kernels() {
        assert_eq!(ProgType::SockOps.number(), 13);
        assert_eq!(ProgType::from_number(16), ProgType::SkMsg);
        assert_eq!(AttachType::from_number(7), AttachType::SkMsgVerdict);
        for number in 0..64 {
            assert_eq!(ProgType::from_number(number).number(), number);
            assert_eq!(AttachType::from_number(number).number(), number);
        }
        assert_eq!(ProgType::Other(60).to_string(), "type 60");
    }
}
