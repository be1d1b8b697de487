//! The list of faults, in the order of their words.
//!
//! Sources: the commits themselves, the CVE records of the kernel's own numbering authority, and the changelogs of Debian's
//! kernels, which list the commits of each stable release.

use super::{Effect, Evidence, Fault, Probe, Reach};
use crate::syscall::Release;

/// When the list was last compared with its sources.
pub const DATE: &str = "2026-11-29";

const NEWER: &str = "use a kernel that has the correction";
const NOTHING: &str = "nothing is to be done";
const ORDERED: &str = "use a machine with x86_64; on arm64 do not use sidestep where the order of bytes matters";

/// The only series of patches that is known to put redirected bytes anywhere else than into the reader's queue.
const CORKING: &str = "proposed patches \"tcp_bpf: improve ingress redirection performance with message corking\" (version 6, \
                       Message-ID 20260115192737.743857-5-xiyou.wangcong@gmail.com)";

/// The faults.
pub const LIST: &[Fault] = &[
    Fault {
        id: "after-leaving",
        holds: "a socket that has left the sockhash reads what comes by the stack",
        why: "Bytes that come after a pair has left would be lost.",
        commit: Some("b40cc5adaa80"),
        cve: None,
        // In released kernels only sockets with a stream parser were affected.
        source: "bpf, sockmap: Fix incorrect copied_seq calculation",
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::Probe(Probe::AfterLeaving),
        since: &[],
        fixed: &[Release(6, 1, 165), Release(6, 12, 75), Release(7, 0, 0)],
        remedy: NEWER,
    },
    Fault {
        id: "close-race",
        holds: "a socket is freed when it is closed while another thread ends its last use of the sockhash",
        why: "Now and then a closed socket would keep its memory, and the kernel would print a warning.",
        commit: Some("4b4647add7d3"),
        cve: Some("CVE-2024-39500"),
        source: "sock_map: avoid race between sock_map_close and sk_psock_put",
        effect: Effect::CostsMemory,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[Release(5, 13, 0)],
        fixed: &[Release(5, 15, 162), Release(6, 1, 95), Release(6, 6, 35), Release(6, 9, 6), Release(6, 10, 0)],
        remedy: NEWER,
    },
    Fault {
        id: "cork",
        holds: "messages that a program corks are freed",
        why: "A message that is corked while memory is short would leak.",
        commit: Some("a3967baad4d5"),
        cve: Some("CVE-2025-39913"),
        source: "tcp_bpf: Call sk_msg_free() when tcp_bpf_send_verdict() fails to allocate psock->cork.",
        effect: Effect::CostsMemory,
        reach: Reach::NotUsed("the sk_msg program never corks a message"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[
            Release(5, 10, 245),
            Release(5, 15, 194),
            Release(6, 1, 153),
            Release(6, 6, 107),
            Release(6, 12, 48),
            Release(6, 16, 8),
            Release(6, 17, 0),
        ],
        remedy: NOTHING,
    },
    Fault {
        id: "corked-redirection",
        holds: "redirected bytes wait nowhere but in the reader's queue",
        why: "Bytes that a worker still holds would be lost when a pair leaves, since its queue looks empty.",
        commit: None,
        cve: None,
        source: CORKING,
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::Field("sk_psock", "backlog_msg"),
        since: &[],
        fixed: &[],
        remedy: "use an older kernel, and report this kernel's version to the project",
    },
    Fault {
        id: "delayed-redirection",
        holds: "redirected bytes can be read as soon as send(2) has returned",
        why: "The kernel would hold redirected bytes elsewhere, and they would be lost when a pair leaves.",
        commit: None,
        cve: None,
        source: CORKING,
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::Probe(Probe::AtOnce),
        since: &[],
        fixed: &[],
        remedy: "use an older kernel, and report this kernel's version to the project",
    },
    Fault {
        id: "element-replace",
        holds: "an element of an array of sockets can be replaced while its socket is closed",
        why: "The kernel would use memory that it has freed.",
        commit: Some("ed1fc5d76b81"),
        cve: Some("CVE-2024-56664"),
        source: "bpf, sockmap: Fix race between element replace and close()",
        effect: Effect::CrashesKernel,
        reach: Reach::NotUsed("the sockets are in a hash (BPF_MAP_TYPE_SOCKHASH), and the fault is in the array"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[
            Release(5, 10, 236),
            Release(5, 15, 180),
            Release(6, 1, 125),
            Release(6, 6, 67),
            Release(6, 12, 6),
            Release(6, 13, 0),
        ],
        remedy: NOTHING,
    },
    Fault {
        id: "fionread-redirected",
        holds: "FIONREAD sees redirected bytes",
        why: "nginx, Java and .NET ask how much there is to read, and would stall when a redirected message does not count.",
        commit: Some("929e30f93125"),
        cve: None,
        source: "bpf, sockmap: Fix FIONREAD for sockmap",
        effect: Effect::Stalls,
        reach: Reach::Avoided("sidestep leaves programs alone that may ask"),
        evidence: Evidence::Probe(Probe::FionreadRedirected),
        since: &[],
        // 6.18.15 is the oldest of its series that the kernel matrix has tried.
        fixed: &[Release(6, 6, 128), Release(6, 12, 75), Release(6, 18, 15), Release(7, 0, 0)],
        remedy: "use a kernel with commit 929e30f93125, or leave a program alone that asks: --exclude-cgroup with its cgroup, or --exclude-port with its ports",
    },
    Fault {
        id: "fionread-stack",
        holds: "FIONREAD sees bytes that came by the stack",
        why: "nginx, Java and .NET ask how much there is to read, and would stall when a member of the sockhash says nothing.",
        commit: Some("04af4efde58a"),
        cve: None,
        source: "bpf, sockmap: Account for receive queue in FIONREAD without a verdict program",
        effect: Effect::Stalls,
        reach: Reach::Avoided("sidestep lets a connection join only when both its readers have earned trust"),
        evidence: Evidence::Probe(Probe::FionreadStack),
        // Commit 929e30f93125. 6.18.15 is the oldest of its series that the kernel matrix has tried.
        since: &[Release(6, 6, 128), Release(6, 12, 75), Release(6, 18, 15), Release(7, 0, 0)],
        fixed: &[Release(6, 12, 114), Release(7, 3, 0)],
        remedy: "use a kernel without commit 929e30f93125, or with its correction 04af4efde58a",
    },
    Fault {
        id: "ktls",
        holds: "a socket in a sockhash is not given keys of kTLS",
        why: "The kernel's own developers call the combination exploitable.",
        commit: Some("460e6486617c"),
        cve: Some("CVE-2026-93824"),
        source: "tls: reject the combination of TLS and sockmap",
        effect: Effect::IsExploitable,
        reach: Reach::Avoided("sidestep lets a pair leave with the next message once TCP_ULP is set"),
        evidence: Evidence::Probe(Probe::TlsKeys),
        since: &[],
        fixed: &[Release(6, 1, 189), Release(6, 12, 111), Release(6, 18, 53), Release(7, 2, 0)],
        remedy: "use a kernel that has the correction; where untrusted programs run, keep the module tls from loading",
    },
    Fault {
        id: "large-map",
        holds: "a large sockhash is freed without a CPU standing still",
        why: "Freeing a map for millions of connections (--max-connections) would keep a CPU busy for seconds.",
        commit: Some("b1339be951ad"),
        cve: Some("CVE-2024-47710"),
        source: "sock_map: Add a cond_resched() in sock_hash_free()",
        effect: Effect::Stalls,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[Release(5, 8, 0)],
        fixed: &[
            Release(5, 10, 227),
            Release(5, 15, 168),
            Release(6, 1, 113),
            Release(6, 6, 54),
            Release(6, 10, 13),
            Release(6, 11, 2),
            Release(6, 12, 0),
        ],
        remedy: "use a kernel that has the correction, or leave --max-connections at its default",
    },
    Fault {
        id: "message-edit",
        holds: "a sk_msg program that changes messages cannot write into files",
        why: "Bytes that a program writes into a message could end in the page cache.",
        commit: Some("406e8a651a7b"),
        cve: Some("CVE-2026-63830"),
        source: "net: skmsg: preserve sg.copy across SG transforms",
        effect: Effect::IsExploitable,
        reach: Reach::NotUsed("the sk_msg program neither reads nor changes what is in a message"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[
            Release(5, 10, 261),
            Release(5, 15, 212),
            Release(6, 1, 177),
            Release(6, 6, 144),
            Release(6, 12, 95),
            Release(6, 18, 38),
            Release(7, 1, 3),
            Release(7, 2, 0),
        ],
        remedy: NOTHING,
    },
    Fault {
        id: "message-memory",
        holds: "a sender that waits for memory gives back what it has got already",
        why: "A sender that runs out of memory in the middle of a message would leak a part of it.",
        commit: Some("9c34e38c4a87"),
        cve: Some("CVE-2022-49209"),
        source: "bpf, sockmap: Fix memleak in tcp_bpf_sendmsg while sk msg is full",
        effect: Effect::CostsMemory,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[],
        fixed: &[Release(5, 10, 110), Release(5, 15, 33), Release(5, 16, 19), Release(5, 17, 2), Release(5, 18, 0)],
        remedy: NEWER,
    },
    Fault {
        id: "mptcp-fallback",
        holds: "an MPTCP listener accepts a plain TCP connection that is in a sockhash",
        why: "accept(2) would take the socket for one of MPTCP. Go 1.24 and later listen by MPTCP without being told to.",
        commit: Some("c77b3b79a92e"),
        cve: Some("CVE-2025-68227"),
        source: "mptcp: Fix proto fallback detection with BPF",
        effect: Effect::CrashesKernel,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[],
        fixed: &[
            Release(5, 10, 247),
            Release(5, 15, 197),
            Release(6, 1, 159),
            Release(6, 6, 118),
            Release(6, 12, 60),
            Release(6, 17, 10),
            Release(6, 18, 0),
        ],
        remedy: "use a kernel that has the correction, or sysctl net.mptcp.enabled=0 in the network namespaces of servers",
    },
    Fault {
        id: "order",
        holds: "redirected bytes are read before those that came later by the stack",
        why: "Bytes would arrive in another order than they were sent.",
        commit: Some("e7a5f1f1cd00"),
        cve: None,
        source: "bpf/sockmap: Read psock ingress_msg before sk_receive_queue",
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::Probe(Probe::Order),
        since: &[],
        fixed: &[Release(5, 4, 14), Release(5, 5, 0)],
        remedy: NEWER,
    },
    Fault {
        id: "reader-lock-order",
        holds: "a sender that sees how far a reader has read also sees that the reader has its socket's lock",
        why: "Bytes could be redirected into the middle of a call that reads bytes of the stack, and be read too early.",
        commit: None,
        cve: None,
        // It releases a spin lock behind its store to sk_lock.owned, which holds back no later store.
        source: "lock_sock_nested in net/core/sock.c; docs/explanation/memory-order.md",
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::WeakOrder,
        since: &[],
        fixed: &[],
        remedy: ORDERED,
    },
    Fault {
        id: "reader-queue-order",
        holds: "a reader looks at the stack's queue before it looks at the redirect queue",
        why: "A reader could get bytes of the stack before redirected ones that were sent earlier.",
        commit: None,
        cve: None,
        // There is nothing between its two loads.
        source: "tcp_bpf_recvmsg in net/ipv4/tcp_bpf.c; docs/explanation/memory-order.md",
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::WeakOrder,
        since: &[],
        fixed: &[],
        remedy: ORDERED,
    },
    Fault {
        id: "receive-buffer",
        holds: "redirected bytes count in the receiver's buffer",
        why: "A receiver that does not read would hold more memory than SO_RCVBUF allows.",
        commit: Some("d888b7af7c14"),
        cve: None,
        source: "tcp_bpf: Add sk_rmem_alloc related logic for tcp_bpf ingress redirection",
        effect: Effect::CostsMemory,
        reach: Reach::Avoided("sidestep bounds by itself what waits unread"),
        evidence: Evidence::Probe(Probe::ReceiveBuffer),
        since: &[],
        fixed: &[Release(6, 1, 123), Release(6, 6, 69), Release(6, 12, 8), Release(6, 13, 0)],
        remedy: NOTHING,
    },
    Fault {
        id: "redirect-accounting",
        holds: "a part of a message that cannot be redirected is counted back",
        why: "Memory of the sender would stay counted that is free.",
        commit: Some("ca70b8baf2bd"),
        cve: Some("CVE-2024-56633"),
        source: "tcp_bpf: Fix the sk_mem_uncharge logic in tcp_bpf_sendmsg",
        effect: Effect::CostsMemory,
        reach: Reach::NotUsed("the sk_msg program decides about whole messages, never with bpf_msg_apply_bytes"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[
            Release(5, 10, 231),
            Release(5, 15, 174),
            Release(6, 1, 120),
            Release(6, 6, 66),
            Release(6, 12, 5),
            Release(6, 13, 0),
        ],
        remedy: NOTHING,
    },
    Fault {
        id: "send-race",
        holds: "two threads that send on one socket each get their own verdict",
        why: "A message could be redirected by the verdict about another thread's message.",
        commit: Some("cd9733f5d75c"),
        cve: None,
        source: "tcp_bpf: Fix one concurrency problem in the tcp_bpf_send_verdict function",
        effect: Effect::LosesData,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[],
        fixed: &[Release(5, 10, 77), Release(5, 14, 16), Release(5, 15, 0)],
        remedy: NEWER,
    },
    Fault {
        id: "skb-verdict",
        holds: "a verdict about packets does not use a socket that is freed",
        why: "The kernel would use memory that it has freed.",
        commit: None,
        cve: Some("CVE-2026-43016"),
        source: "bpf: sockmap: Fix use-after-free of sk->sk_socket in sk_psock_verdict_data_ready().",
        effect: Effect::CrashesKernel,
        reach: Reach::NotUsed("there are no programs for packets (sk_skb) on the sockhash"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[Release(6, 1, 191), Release(6, 12, 81)],
        remedy: NOTHING,
    },
    Fault {
        id: "sock-ops-registers",
        holds: "a sock_ops program that loads a field over its own context gets that field",
        why: "A program could read kernel memory instead of a field.",
        commit: None,
        cve: None,
        source: "bpf: Fix same-register dst/src OOB read and pointer leak in sock_ops (Debian's changelogs of 6.1.188 and 6.12.101)",
        effect: Effect::IsExploitable,
        reach: Reach::NotUsed("no program loads such a field over its own context"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[Release(6, 1, 188), Release(6, 12, 101)],
        remedy: NOTHING,
    },
    Fault {
        id: "sock-ops-rtt-min",
        holds: "a sock_ops program that runs for a request reads no round-trip time behind it",
        why: "A program could read kernel memory behind a request.",
        commit: None,
        cve: None,
        source: "bpf: Fix out-of-bounds read of rtt_min in sock_ops (Debian's changelogs of 6.1.189 and 6.12.112)",
        effect: Effect::IsExploitable,
        reach: Reach::NotUsed("no program reads rtt_min"),
        evidence: Evidence::Release,
        since: &[],
        fixed: &[Release(6, 1, 189), Release(6, 12, 112)],
        remedy: NOTHING,
    },
    Fault {
        id: "storage-iterator",
        holds: "the iterator over a map of socket storages does not meet a socket that is being freed",
        why: "The kernel would dereference a NULL pointer: a guest of Linux 7.3.4 did, twice.",
        // It makes the pointer null that the iterator reads.
        commit: Some("0be08389c7f2"),
        cve: None,
        source: "bpf: Switch to bpf_selem_unlink_nofail in bpf_local_storage_{map_free, destroy}",
        effect: Effect::CrashesKernel,
        reach: Reach::Avoided("sidestep finds its sockets by the open files of all tasks there"),
        evidence: Evidence::Function("bpf_selem_unlink_nofail", Release(7, 0, 0)),
        since: &[Release(7, 0, 0)],
        fixed: &[],
        remedy: NOTHING,
    },
    Fault {
        id: "zero-length-read",
        holds: "recv(2) of no bytes returns while redirected bytes wait",
        why: "A program that asks for no bytes at all (recv with a length of 0) would hang a CPU until the machine is reset.",
        commit: Some("d900f3d20cc3"),
        cve: Some("CVE-2023-53133"),
        source: "bpf, sockmap: Fix an infinite loop error when len is 0 in tcp_bpf_recvmsg_parser()",
        effect: Effect::CrashesKernel,
        reach: Reach::Reached,
        evidence: Evidence::Release,
        since: &[],
        // 5.10.258: Debian's changelog.
        fixed: &[Release(5, 10, 258), Release(5, 15, 103), Release(6, 1, 20), Release(6, 2, 7), Release(6, 3, 0)],
        remedy: NEWER,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_in_order_and_each_once() {
        assert!(LIST.is_sorted_by(|one, next| one.id < next.id));
        let day: Vec<u32> = DATE.split('-').map(|number| number.parse().unwrap()).collect();
        assert!(matches!(day.as_slice(), [2026..=2999, 1..=12, 1..=31]), "{DATE}");
    }

    #[test]
    fn every_row_says_where_it_is_from_and_what_to_do() {
        for fault in LIST {
            let Fault { id, commit, cve, source, .. } = fault;
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !id.is_empty(), "{id}");
            assert!(commit.is_none_or(|hash| hash.len() == 12 && hash.chars().all(|c| c.is_ascii_hexdigit())), "{id}");
            let is_cve = |text: &str| {
                let mut parts = text.splitn(3, '-');
                let number =
                    |part: Option<&str>| part.is_some_and(|part| part.len() >= 4 && part.parse::<u32>().is_ok());
                parts.next() == Some("CVE") && number(parts.next()) && number(parts.next())
            };
            assert!(cve.is_none_or(is_cve), "{id}");
            // A commit or a CVE; else the text must say where it was found.
            let is_found_by_text = ["Message-ID", "changelog", "in net/"].iter().any(|words| source.contains(words));
            assert!(commit.is_some() || cve.is_some() || is_found_by_text, "{id}");
            assert!(!source.is_empty() && !fault.holds.is_empty() && !fault.remedy.is_empty(), "{id}");
            assert!(fault.why.ends_with('.'), "{id}");
        }
    }

    #[test]
    fn releases_ascend_and_a_fault_that_a_version_shows_is_corrected_in_one() {
        for fault in LIST {
            for list in [fault.since, fault.fixed] {
                assert!(list.is_sorted_by(|one, next| one < next), "{}", fault.id);
                let series: Vec<_> = list.iter().map(|release| (release.0, release.1)).collect();
                assert!(series.is_sorted_by(|one, next| one < next), "{}: a series has one entry", fault.id);
                let mainline = list.iter().filter(|release| release.2 == 0).count();
                assert!(mainline <= 1, "{}", fault.id);
            }
            let is_by_release = fault.evidence == Evidence::Release && !matches!(fault.reach, Reach::NotUsed(_));
            let is_mainline = |list: &[Release]| list.last().is_some_and(|release| release.2 == 0);
            assert!(!is_by_release || is_mainline(fault.fixed), "{}: later series must have it", fault.id);
            assert!(fault.since.is_empty() || is_mainline(fault.since), "{}", fault.id);
        }
    }
}
