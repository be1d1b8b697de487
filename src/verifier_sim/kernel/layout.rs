//! Where the simulated kernel keeps the fields programs read through fault-safe loads.
//!
//! The numbers are those of no kernel: a program that works here and on a real kernel has taken its offsets from the layout.

use crate::uapi::system_call;

/// Bytes of each structure.
pub(super) const STRUCT_SIZE: usize = 1024;

pub(super) const COPIED_SEQ: usize = 0x2f0;
pub(super) const WRITE_SEQ: usize = 0x2e4;
pub(super) const NONAGLE: usize = 0x2ea;
pub(super) const LOCK_OWNED: usize = 0x09c;
pub(super) const RCVLOWAT: usize = 0x0a8;
pub(super) const SHUTDOWN: usize = 0x211;
pub(super) const SK_FLAGS: usize = 0x060;
pub(super) const PEEK_OFF: usize = 0x0b4;
pub(super) const SOCKET: usize = 0x220;
pub(super) const USER_DATA: usize = 0x1f8;
pub(super) const FILE: usize = 0x018;
pub(super) const F_FLAGS: usize = 0x044;
pub(super) const INGRESS_MSG: usize = 0x130;
pub(super) const REFCNT: usize = 0x1ac;
pub(super) const MAPS: usize = 0x1e0;
/// The list's entries, which really lie in memory of their own.
pub(super) const MAPS_ENTRIES: [usize; 2] = [0x200, 0x220];
pub(super) const CALLBACK_FLAGS: usize = 0x2eb;
pub(super) const ULP_OPS: usize = 0x308;
pub(super) const OPS_SK: usize = 0x008;
pub(super) const RCV_ISN: usize = 0x11c;
pub(super) const SNT_ISN: usize = 0x120;
pub(super) const REQUEST_HASH: usize = 0x124;
pub(super) const OPS_SKB: usize = 0x028;
pub(super) const PACKET_HASH: usize = 0x094;
pub(super) const RCV_WUP: usize = 0x2f4;
pub(super) const RCV_WND: usize = 0x2f8;
pub(super) const KEEPALIVE_TIME: usize = 0x2fc;
pub(super) const BYTES_ACKED: usize = 0x310;
pub(super) const BYTES_RECEIVED: usize = 0x318;
pub(super) const DADDR: usize = 0x000;
pub(super) const SADDR: usize = 0x004;
pub(super) const DPORT: usize = 0x00c;
pub(super) const NUM: usize = 0x00e;
pub(super) const FAMILY: usize = 0x010;
pub(super) const STATE: usize = 0x012;
pub(super) const COOKIE: usize = 0x018;
pub(super) const SENT_MARK: usize = 0x340;
pub(super) const RECEIVED_MARK: usize = 0x344;
pub(super) const SND_UNA: usize = 0x348;
pub(super) const RCV_NXT: usize = 0x34c;
/// Of IPv6: left at zero.
const V6_DADDR: usize = 0x030;
const V6_SADDR: usize = 0x040;
pub(super) const PROTOCOL: usize = 0x214;
/// Left at zero: a socket with an error is closed.
const ERR: usize = 0x218;
pub(super) const SOCKET_SK: usize = 0x020;
pub(super) const INODE: usize = 0x028;
pub(super) const PRIVATE_DATA: usize = 0x0c8;
/// `inode.i_mode`.
pub(super) const MODE: usize = 0x004;
pub(super) const GROUP_LEADER: usize = 0x100;
pub(super) const START: usize = 0x108;
pub(super) const TASK_FILES: usize = 0x110;
/// `files_struct.fdt`, `fdtable.max_fds` and `fdtable.fd`.
pub(super) const FDT: usize = 0x020;
pub(super) const MAX_FDS: usize = 0x000;
pub(super) const FD: usize = 0x008;
/// `pt_regs.di`, and what takes its place on other architectures.
pub(super) const DI: usize = 0x070;
/// `IPPROTO_TCP`, include/uapi/linux/in.h.
pub(super) const IPPROTO_TCP: u16 = 6;
/// `MSG_PEEK` and `MSG_WAITALL`, include/linux/socket.h.
pub(super) const MSG_PEEK: u32 = 2;
pub(super) const MSG_WAITALL: u32 = 0x100;
pub(super) const SNDBUF: usize = 0x0b8;
pub(super) const RCVBUF: usize = 0x0bc;
pub(super) const PROT: usize = 0x028;
pub(super) const MEMORY_PRESSURE: usize = 0x148;
/// `sk_userlocks` is the upper half of its byte, as before Linux 6.6.
pub(super) const USERLOCKS: usize = 0x213;
pub(super) const USERLOCKS_SHIFT: u8 = 4;
pub(super) const FORWARD_ALLOC: usize = 0x0c0;
pub(super) const MEMCG: usize = 0x230;
/// `mem_cgroup.memory`, and the fields of this `struct page_counter`.
pub(super) const GROUP_MEMORY: usize = 0x100;
pub(super) const USAGE: usize = 0x008;
pub(super) const LIMIT: usize = 0x048;
pub(super) const PARENT: usize = 0x050;
/// `sock.sk_wq`, and `socket_wq.wait.head`.
pub(super) const WAIT_QUEUE: usize = 0x238;
pub(super) const WAIT_HEAD: usize = 0x040;
/// `eppoll_entry.wait.entry` and `eppoll_entry.base`.
pub(super) const WAIT_ENTRY: usize = 0x028;
pub(super) const ENTRY_BASE: usize = 0x010;
/// `epitem.ffd.file`, `ffd.fd`, `event.events` and `event.data`.
pub(super) const ITEM_FILE: usize = 0x030;
pub(super) const ITEM_FD: usize = 0x038;
pub(super) const ITEM_EVENTS: usize = 0x074;
pub(super) const ITEM_DATA: usize = 0x078;
/// `sock.sk_cgrp_data.cgroup`, `cgroup.kn`, `cgroup.self.parent` and `kernfs_node.id`.
pub(super) const CGROUP: usize = 0x240;
pub(super) const CGROUP_DIRECTORY: usize = 0x078;
pub(super) const CGROUP_PARENT: usize = 0x018;
pub(super) const DIRECTORY_ID: usize = 0x060;
/// Bytes of each structure around a waiter.
pub(super) const WAITER_SIZE: usize = 0x080;

/// Writes `value` into a structure's `bytes`.
pub(super) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// The byte offset of a field, named as BTF names it; `None` for fields the simulated kernel does not have.
pub fn offset_of(structure: &str, path: &str) -> Option<u16> {
    let offset = match (structure, path) {
        ("tcp_sock", "copied_seq") => COPIED_SEQ,
        ("tcp_sock", "write_seq") => WRITE_SEQ,
        ("tcp_sock", "nonagle") => NONAGLE,
        ("sock", "sk_lock.owned") => LOCK_OWNED,
        ("sock", "sk_rcvlowat") => RCVLOWAT,
        ("sock", "sk_shutdown") => SHUTDOWN,
        ("sock", "__sk_common.skc_flags") => SK_FLAGS,
        ("sock", "sk_peek_off") => PEEK_OFF,
        ("sock", "sk_socket") => SOCKET,
        ("sock", "sk_user_data") => USER_DATA,
        ("socket", "file") => FILE,
        ("file", "f_flags") => F_FLAGS,
        ("sk_psock", "ingress_msg") => INGRESS_MSG,
        ("sk_psock", "refcnt.refs.counter") => REFCNT,
        ("sk_psock", "link") => MAPS,
        ("tcp_sock", "bpf_sock_ops_cb_flags") => CALLBACK_FLAGS,
        ("inet_connection_sock", "icsk_ulp_ops") => ULP_OPS,
        ("bpf_sock_ops_kern", "sk") => OPS_SK,
        ("tcp_request_sock", "rcv_isn") => RCV_ISN,
        ("tcp_request_sock", "snt_isn") => SNT_ISN,
        ("tcp_request_sock", "txhash") => REQUEST_HASH,
        ("bpf_sock_ops_kern", "skb") => OPS_SKB,
        ("sk_buff", "hash") => PACKET_HASH,
        ("sock", "sk_sndbuf") => SNDBUF,
        ("sock", "sk_rcvbuf") => RCVBUF,
        ("tcp_sock", "rcv_wup") => RCV_WUP,
        ("tcp_sock", "rcv_wnd") => RCV_WND,
        ("tcp_sock", "keepalive_time") => KEEPALIVE_TIME,
        ("tcp_sock", "bytes_acked") => BYTES_ACKED,
        ("tcp_sock", "bytes_received") => BYTES_RECEIVED,
        ("sock", "__sk_common.skc_prot") => PROT,
        ("proto", "memory_pressure") => MEMORY_PRESSURE,
        ("sock", "sk_forward_alloc") => FORWARD_ALLOC,
        ("sock", "sk_memcg") => MEMCG,
        ("mem_cgroup", "memory") => GROUP_MEMORY,
        ("page_counter", "usage.counter") => USAGE,
        ("page_counter", "max") => LIMIT,
        ("page_counter", "parent") => PARENT,
        ("sock", "sk_wq") => WAIT_QUEUE,
        ("socket_wq", "wait.head") => WAIT_HEAD,
        ("eppoll_entry", "wait.entry") => WAIT_ENTRY,
        ("eppoll_entry", "base") => ENTRY_BASE,
        ("epitem", "ffd.file") => ITEM_FILE,
        ("epitem", "ffd.fd") => ITEM_FD,
        ("epitem", "event.events") => ITEM_EVENTS,
        ("epitem", "event.data") => ITEM_DATA,
        ("sock", "__sk_common.skc_daddr") => DADDR,
        ("sock", "__sk_common.skc_rcv_saddr") => SADDR,
        ("sock", "__sk_common.skc_dport") => DPORT,
        ("sock", "__sk_common.skc_num") => NUM,
        ("sock", "__sk_common.skc_family") => FAMILY,
        ("sock", "__sk_common.skc_cookie" | "__sk_common.skc_cookie.counter") => COOKIE,
        ("sock", "__sk_common.skc_state") => STATE,
        ("sock", "sk_txhash") => SENT_MARK,
        ("sock", "__sk_common.skc_rxhash") => RECEIVED_MARK,
        ("tcp_sock", "snd_una") => SND_UNA,
        ("tcp_sock", "rcv_nxt") => RCV_NXT,
        ("sock", "__sk_common.skc_v6_daddr") => V6_DADDR,
        ("sock", "__sk_common.skc_v6_rcv_saddr") => V6_SADDR,
        ("sock", "sk_cgrp_data.cgroup") => CGROUP,
        ("cgroup", "kn") => CGROUP_DIRECTORY,
        ("cgroup", "self.parent") => CGROUP_PARENT,
        ("kernfs_node", "id") => DIRECTORY_ID,
        ("sock", "sk_protocol") => PROTOCOL,
        ("sock", "sk_err") => ERR,
        ("socket", "sk") => SOCKET_SK,
        ("file", "f_inode") => INODE,
        ("file", "private_data") => PRIVATE_DATA,
        ("inode", "i_mode") => MODE,
        ("task_struct", "group_leader") => GROUP_LEADER,
        ("task_struct", "start_boottime") => START,
        ("task_struct", "files") => TASK_FILES,
        ("files_struct", "fdt") => FDT,
        ("fdtable", "max_fds") => MAX_FDS,
        ("fdtable", "fd") => FD,
        ("pt_regs", system_call::FIRST_ARGUMENT) => DI,
        _ => return None,
    };
    Some(offset as u16)
}

/// Byte and lowest bit of `sock.sk_userlocks`, which is a bit field.
pub fn buffer_locks() -> (u16, u8) {
    (USERLOCKS as u16, USERLOCKS_SHIFT)
}

/// The BTF id of a structure or function, by its name; `None` for what the simulated kernel does not have.
pub fn btf_id(name: &str) -> Option<u32> {
    const NAMES: [&str; 7] = [
        "bpf_rdonly_cast",
        "tcp_sock",
        "sk_psock",
        "bpf_sock_ops_kern",
        "tcp_request_sock",
        "sk_buff",
        "rtnl_link_stats64",
    ];
    NAMES.iter().position(|known| *known == name).map(|at| 0x7001 + at as u32)
}
