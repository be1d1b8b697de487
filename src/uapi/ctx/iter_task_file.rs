//! `struct bpf_iter__task_file`, kernel/bpf/task_iter.c.

#![allow(missing_docs, reason = "the names are the kernel's")]

super::fields! {
    32:
    META "meta" = 0, 8;
    TASK "task" = 8, 8;
    FD "fd" = 16, 4;
    FILE "file" = 24, 8;
}
