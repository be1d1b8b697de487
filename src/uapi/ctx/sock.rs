//! `struct bpf_sock`: a read-only view of a socket.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    80:
    BOUND_DEV_IF "bound_dev_if" = 0, 4;
    FAMILY "family" = 4, 4;
    TYPE "type" = 8, 4;
    PROTOCOL "protocol" = 12, 4;
    MARK "mark" = 16, 4;
    PRIORITY "priority" = 20, 4;
    SRC_IP4 "src_ip4" = 24, 4;
    SRC_IP6 "src_ip6" = 28, 16;
    /// Host byte order.
    SRC_PORT "src_port" = 44, 4;
    /// Network byte order; 2 bytes of nothing follow.
    DST_PORT "dst_port" = 48, 2;
    DST_IP4 "dst_ip4" = 52, 4;
    DST_IP6 "dst_ip6" = 56, 16;
    STATE "state" = 72, 4;
    RX_QUEUE_MAPPING "rx_queue_mapping" = 76, 4;
}
