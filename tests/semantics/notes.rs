//! Why a case differs, and what to do about it. A difference that is not explained here fails the test.

use sidestep::syscall::Release;

/// Case, and the sentence for the matrix.
pub(crate) const NOTES: &[(&str, &str)] = &[
    (
        "close with unread data",
        "TCP does not know of unread redirected bytes, so it sends FIN, not RST; a sender that must know they were read needs an answer from the application.",
    ),
    (
        "send three times after a reset",
        "A socket in a sockhash reports ECONNRESET at each send (tcp_bpf_sendmsg does not clear the error); plain TCP does so once, and then EPIPE. Treat both as the end of the connection.",
    ),
    (
        "connect(AF_UNSPEC) and connect again",
        "Unread redirected bytes can still be read after the disconnect; they are gone when the socket connects again.",
    ),
    (
        "FIONREAD of bytes sent before accept",
        "Kernels between 929e30f93125 and its repair count redirected bytes only; run a kernel without the fault, or opt out programs that trust FIONREAD.",
    ),
    (
        "zero-length recv and send",
        "recv(2) of no bytes returns at once instead of waiting or EAGAIN; use poll(2) to wait.",
    ),
    ("MSG_WAITALL", "Redirected bytes are given out as they come; opt out blocking readers, as the default does."),
    (
        "MSG_WAITALL, first half before accept",
        "The call comes back short instead of waiting; nothing is lost and it does not hang. The default leaves blocking readers alone.",
    ),
    (
        "MSG_TRUNC",
        "The flag is ignored for redirected bytes: they are copied, not discarded; opt out programs that discard with it.",
    ),
    (
        "MSG_OOB",
        "The urgent byte arrives as an ordinary one when it is redirected; opt out programs that use urgent data.",
    ),
    ("TCP_INQ", "Redirected bytes come without the control message; use FIONREAD."),
    (
        "SO_RCVLOWAT set while bytes wait",
        "Bytes redirected before the option was set are readable regardless of it; set it before data can come.",
    ),
    (
        "own shutdown(SHUT_WR) while blocked in recv",
        "A blocking recv in a sockhash returns EAGAIN when it is woken without data; the default leaves blocking readers alone.",
    ),
    (
        "own shutdown(SHUT_RD) while blocked in recv",
        "A blocking recv in a sockhash returns EAGAIN when it is woken without data; the default leaves blocking readers alone.",
    ),
    (
        "O_NONBLOCK cleared later, then own shutdown(SHUT_WR) while blocked",
        "The change is noticed at the next message of either end, and the pair leaves; what happens before that message meets a socket in a sockhash.",
    ),
    (
        "O_NONBLOCK cleared later, then MSG_WAITALL",
        "The default notices at the next message, and the stack carries it; with any reader the call comes back short, and does not hang.",
    ),
    (
        "two threads blocked in recv",
        "Both wake for one message and the loser gets EAGAIN, until the pair has left the map at its first acknowledgement; let one thread read a connection.",
    ),
    (
        "signal with SA_RESTART while blocked in recv",
        "recv in a sockhash returns EAGAIN instead of starting again; the default leaves blocking readers alone.",
    ),
    (
        "signal without SA_RESTART while blocked in recv",
        "recv in a sockhash returns EAGAIN instead of EINTR; the default leaves blocking readers alone.",
    ),
    (
        "signal with SA_RESTART in a recv that was never served",
        "A blocking server whose client is non-blocking is in the sockhash until it answers, or has got eight messages, and a signal in that time gives EAGAIN; opt out servers that take this for an error.",
    ),
    (
        "SIGSTOP and SIGCONT while blocked in recv",
        "recv in a sockhash returns EAGAIN instead of starting again; the default leaves blocking readers alone.",
    ),
    (
        "SIGSTOP and SIGCONT in a recv that was never served",
        "A blocking server whose client is non-blocking is in the sockhash until it answers, or has got eight messages, and a stop in that time gives EAGAIN; opt out servers that take this for an error.",
    ),
    ("MSG_MORE", "Redirected bytes are not held back: more wake-ups, the same bytes."),
    ("TCP_CORK", "Redirected bytes are not held back: more wake-ups, the same bytes."),
    ("send with a bad address", "send(2) returns 0 instead of EFAULT; only a faulty program can tell."),
    (
        "splice from the socket, data queued",
        "splice(2) does not see redirected bytes; by default a program that splices gets none: see [policy](../explanation/policy.md#programs-that-splice).",
    ),
    (
        "splice from the socket, waits for data",
        "splice(2) does not see redirected bytes; by default a program that splices gets none: see [policy](../explanation/policy.md#programs-that-splice).",
    ),
    (
        "splice from the socket, 1 MiB",
        "splice(2) takes the stack's bytes and passes over redirected ones before them; by default a program that splices gets none: see [policy](../explanation/policy.md#programs-that-splice).",
    ),
    ("TCP_INFO byte counts", "Redirected bytes are not counted; use the application's own counts or sidestep's."),
    (
        "SO_TIMESTAMPING of transmission",
        "Redirected bytes are never transmitted, so nothing is reported; opt out programs that wait for it.",
    ),
    (
        "io_uring zero-copy send",
        "A socket in a sockhash refuses it with EOPNOTSUPP, also when its messages take the stack; use plain sends, or opt out.",
    ),
];

/// Cases that differ on older kernels only: case, the release of the matrix that no longer differs, and why.
const OLDER: &[(&str, Release, &str)] = &[
    (
        "FIONREAD",
        Release(6, 12, 0),
        "without commit 929e30f93125 redirected bytes are not counted; opt out programs that trust FIONREAD",
    ),
    (
        "FIONREAD loop, as Java's available()",
        Release(6, 12, 0),
        "the same: a reader that reads only what FIONREAD reports stalls on redirected bytes",
    ),
    (
        "epoll, edge: the same with 3.03 MiB unread",
        Release(6, 2, 0),
        "bytes by the stack behind 3 MiB (or 2048 messages) of unread redirected ones have no event of their own, until more comes; readers that are level-triggered or read until EAGAIN see them",
    ),
    (
        "MSG_ZEROCOPY and its notification",
        Release(6, 1, 0),
        "what a socket in a sockhash sends is copied, and no program is notified; opt out programs that wait for it",
    ),
];

/// The only cases that may hang, and only where plain TCP does not.
pub(crate) const HANGS: [&str; 2] = ["splice from the socket, data queued", "splice from the socket, 1 MiB"];

/// Why a case differs on this kernel, if that is an older one.
pub(crate) fn of_older_kernel(case: &str) -> Option<&'static str> {
    let older = |until| Release::running().is_some_and(|running| running < until);
    OLDER.iter().find(|(name, until, _)| *name == case && older(*until)).map(|(.., note)| *note)
}

/// The sentence for a case.
pub(crate) fn note(case: &str) -> Option<&'static str> {
    NOTES.iter().find(|(name, _)| *name == case).map(|(_, note)| *note)
}
