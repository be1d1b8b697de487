//! `struct sk_msg_md`.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    80:
    DATA "data" = 0, 8;
    DATA_END "data_end" = 8, 8;
    FAMILY "family" = 16, 4;
    REMOTE_IP4 "remote_ip4" = 20, 4;
    LOCAL_IP4 "local_ip4" = 24, 4;
    REMOTE_IP6 "remote_ip6" = 28, 16;
    LOCAL_IP6 "local_ip6" = 44, 16;
    REMOTE_PORT "remote_port" = 60, 4;
    LOCAL_PORT "local_port" = 64, 4;
    /// Bytes of the message (`size` in the kernel).
    LENGTH "size" = 68, 4;
    /// A pointer. Linux 5.8.
    SK "sk" = 72, 8;
}
