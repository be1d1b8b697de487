//! `struct bpf_tcp_sock`: a read-only view of a TCP socket.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    112:
    SND_CWND "snd_cwnd" = 0, 4;
    SRTT_US "srtt_us" = 4, 4;
    RTT_MIN "rtt_min" = 8, 4;
    SND_SSTHRESH "snd_ssthresh" = 12, 4;
    RCV_NXT "rcv_nxt" = 16, 4;
    SND_NXT "snd_nxt" = 20, 4;
    SND_UNA "snd_una" = 24, 4;
    MSS_CACHE "mss_cache" = 28, 4;
    ECN_FLAGS "ecn_flags" = 32, 4;
    RATE_DELIVERED "rate_delivered" = 36, 4;
    RATE_INTERVAL_US "rate_interval_us" = 40, 4;
    PACKETS_OUT "packets_out" = 44, 4;
    RETRANS_OUT "retrans_out" = 48, 4;
    TOTAL_RETRANS "total_retrans" = 52, 4;
    SEGS_IN "segs_in" = 56, 4;
    DATA_SEGS_IN "data_segs_in" = 60, 4;
    SEGS_OUT "segs_out" = 64, 4;
    DATA_SEGS_OUT "data_segs_out" = 68, 4;
    LOST_OUT "lost_out" = 72, 4;
    SACKED_OUT "sacked_out" = 76, 4;
    BYTES_RECEIVED "bytes_received" = 80, 8;
    BYTES_ACKED "bytes_acked" = 88, 8;
    DSACK_DUPS "dsack_dups" = 96, 4;
    DELIVERED "delivered" = 100, 4;
    DELIVERED_CE "delivered_ce" = 104, 4;
    ICSK_RETRANSMITS "icsk_retransmits" = 108, 4;
}
