//! `struct bpf_iter__sockmap`, net/core/sock_map.c.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    32:
    META "meta" = 0, 8;
    MAP "map" = 8, 8;
    KEY "key" = 16, 8;
    SK "sk" = 24, 8;
}
