//! `struct bpf_iter__bpf_sk_storage_map`, net/core/bpf_sk_storage.c.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    32:
    META "meta" = 0, 8;
    MAP "map" = 8, 8;
    SK "sk" = 16, 8;
    VALUE "value" = 24, 8;
}
