//! `struct bpf_sock_ops`, and its operations and callback flags.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    224:
    OP "op" = 0, 4;
    REPLY "reply" = 4, 4;
    /// The arguments of a callback behind the first, which is in [`REPLY`].
    REPLYLONG "replylong" = 8, 12;
    FAMILY "family" = 20, 4;
    /// Network byte order.
    REMOTE_IP4 "remote_ip4" = 24, 4;
    /// Network byte order.
    LOCAL_IP4 "local_ip4" = 28, 4;
    /// Network byte order.
    REMOTE_IP6 "remote_ip6" = 32, 16;
    /// Network byte order.
    LOCAL_IP6 "local_ip6" = 48, 16;
    /// Network byte order, in a 32-bit field.
    REMOTE_PORT "remote_port" = 64, 4;
    /// Host byte order, in a 32-bit field.
    LOCAL_PORT "local_port" = 68, 4;
    /// 0 for the request of a connection that is not established yet.
    IS_FULLSOCK "is_fullsock" = 72, 4;
    SND_CWND "snd_cwnd" = 76, 4;
    SRTT_US "srtt_us" = 80, 4;
    CB_FLAGS "bpf_sock_ops_cb_flags" = 84, 4;
    STATE "state" = 88, 4;
    RTT_MIN "rtt_min" = 92, 4;
    SND_SSTHRESH "snd_ssthresh" = 96, 4;
    RCV_NXT "rcv_nxt" = 100, 4;
    SND_NXT "snd_nxt" = 104, 4;
    SND_UNA "snd_una" = 108, 4;
    MSS_CACHE "mss_cache" = 112, 4;
    ECN_FLAGS "ecn_flags" = 116, 4;
    RATE_DELIVERED "rate_delivered" = 120, 4;
    RATE_INTERVAL_US "rate_interval_us" = 124, 4;
    PACKETS_OUT "packets_out" = 128, 4;
    RETRANS_OUT "retrans_out" = 132, 4;
    TOTAL_RETRANS "total_retrans" = 136, 4;
    SEGS_IN "segs_in" = 140, 4;
    DATA_SEGS_IN "data_segs_in" = 144, 4;
    SEGS_OUT "segs_out" = 148, 4;
    DATA_SEGS_OUT "data_segs_out" = 152, 4;
    LOST_OUT "lost_out" = 156, 4;
    SACKED_OUT "sacked_out" = 160, 4;
    SK_TXHASH "sk_txhash" = 164, 4;
    BYTES_RECEIVED "bytes_received" = 168, 8;
    BYTES_ACKED "bytes_acked" = 176, 8;
    /// A pointer, or 0.
    SK "sk" = 184, 8;
    /// Linux 5.10.
    SKB_DATA "skb_data" = 192, 8;
    /// Linux 5.10.
    SKB_DATA_END "skb_data_end" = 200, 8;
    SKB_LEN "skb_len" = 208, 4;
    SKB_TCP_FLAGS "skb_tcp_flags" = 212, 4;
    /// Linux 6.2.
    SKB_HWTSTAMP "skb_hwtstamp" = 216, 8;
}

/// `BPF_SOCK_OPS_RWND_INIT`.
pub const RWND_INIT: i32 = 2;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
pub const ACTIVE_ESTABLISHED: i32 = 4;
/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
pub const PASSIVE_ESTABLISHED: i32 = 5;
/// `BPF_SOCK_OPS_RTO_CB`: only for sockets whose flags ask for it, as the next two.
pub const RTO: i32 = 8;
/// `BPF_SOCK_OPS_RETRANS_CB`.
pub const RETRANS: i32 = 9;
/// `BPF_SOCK_OPS_STATE_CB`: the second argument is the new state.
pub const STATE_CHANGED: i32 = 10;
/// `BPF_SOCK_OPS_RTT_CB`.
pub const RTT: i32 = 12;
/// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`: a packet is being made.
pub const HDR_OPT_LEN: i32 = 14;
/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB`: a packet has been made, but for the options that a program has reserved bytes for.
pub const WRITE_HDR_OPT: i32 = 15;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`.
pub const STATE_FLAG: i32 = 1 << 2;
/// `BPF_SOCK_OPS_RTT_CB_FLAG`.
pub const RTT_FLAG: i32 = 1 << 3;
/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`, Linux 5.10.
pub const WRITE_HDR_OPT_FLAG: i32 = 1 << 6;
/// `BPF_SOCK_OPS_ALL_CB_FLAGS`.
pub const ALL_CB_FLAGS: i32 = 0x7f;
