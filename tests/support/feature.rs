//! What a kernel must have from which release on, so that no test is skipped where it should have run.

use sidestep::syscall::Release;

/// Something that not every supported kernel (5.10 and later) has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// `BPF_LINK_CREATE` on a socket map.
    SocketMapLink,
    /// `BPF_PROG_QUERY` on a socket map.
    SocketMapQuery,
    /// `SO_NETNS_COOKIE`.
    NetnsCookie,
    /// The helper `bpf_get_netns_cookie` in sock_ops and sk_msg programs, which `--pairing four-tuple` calls.
    NetnsCookieHelper,
    /// Socket storage for iterators, with which the drain sees senders underway.
    IteratorStorage,
    /// Programs that read and set keepalive and SO_RCVLOWAT.
    SocketOptions,
    /// `bpf_rdonly_cast`, with which a look at each message costs next to nothing.
    DirectLoads,
    /// `IPPROTO_MPTCP`.
    Mptcp,
    /// `SO_PEEK_OFF` on TCP sockets.
    TcpPeekOffset,
    /// `IORING_OP_SEND_ZC`.
    UringZeroCopySend,
    /// Receives of io_uring that complete with each part, into buffers that the program has given (`IORING_RECV_MULTISHOT`).
    UringMultishotReceive,
    /// kTLS.
    KernelTls,
    /// Programs that ask for the callbacks of any socket, without which connections that exist cannot be adopted.
    Adoption,
    /// `BPF_F_BEFORE` for programs of a cgroup.
    CgroupOrder,
    /// `TCP_RTO_MAX_MS`, with which a sender asks for a window every second.
    LongestTimeout,
    /// Programs that see how others read.
    ReadersSeen,
}

/// All of them.
#[cfg(test)]
const ALL: [Feature; 16] = [
    Feature::SocketMapLink,
    Feature::SocketMapQuery,
    Feature::NetnsCookie,
    Feature::NetnsCookieHelper,
    Feature::IteratorStorage,
    Feature::SocketOptions,
    Feature::DirectLoads,
    Feature::Mptcp,
    Feature::TcpPeekOffset,
    Feature::UringZeroCopySend,
    Feature::UringMultishotReceive,
    Feature::KernelTls,
    Feature::Adoption,
    Feature::CgroupOrder,
    Feature::LongestTimeout,
    Feature::ReadersSeen,
];

/// The first release that must have each; sources: tests/matrix, which boots the releases on both sides.
const TABLE: &[(Feature, Release)] = &[
    (Feature::SocketMapLink, Release(6, 10, 0)),
    (Feature::SocketMapQuery, Release(5, 15, 0)),
    (Feature::NetnsCookie, Release(5, 14, 0)),
    (Feature::NetnsCookieHelper, Release(5, 15, 0)),
    (Feature::IteratorStorage, Release(5, 11, 0)),
    (Feature::SocketOptions, Release(6, 1, 0)),
    (Feature::DirectLoads, Release(6, 2, 0)),
    // Linux has it from 5.6, but it is not built into Debian's 5.10.
    (Feature::Mptcp, Release(6, 1, 0)),
    (Feature::TcpPeekOffset, Release(6, 9, 0)),
    (Feature::UringZeroCopySend, Release(6, 0, 0)),
    (Feature::UringMultishotReceive, Release(6, 0, 0)),
    // Linux has it from 4.13, but Debian's 5.10 for clouds is built without.
    (Feature::KernelTls, Release(6, 1, 0)),
    (Feature::Adoption, Release(6, 12, 0)),
    (Feature::CgroupOrder, Release(6, 17, 0)),
    (Feature::LongestTimeout, Release(6, 15, 0)),
    // arm64 has fentry from then on (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS).
    (Feature::ReadersSeen, if cfg!(target_arch = "aarch64") { Release(6, 4, 0) } else { Release(6, 1, 0) }),
];

impl Feature {
    /// The release from which on a test of this feature must run and pass.
    pub(crate) fn since(self) -> Release {
        let row = TABLE.iter().find(|(feature, _)| *feature == self);
        row.unwrap_or_else(|| panic!("{self:?} has no row in the table")).1
    }

    /// Whether the running kernel must have it, where a test looks at something else on older ones.
    pub(crate) fn is_here(self) -> bool {
        Release::running().expect("uname(2) gives no release") >= self.since()
    }

    /// Whether the running kernel must have it. Where it need not, it is said loudly that `test` is left out; where it
    /// must, the test runs and fails if the kernel disappoints.
    pub(crate) fn required(self, test: &str) -> bool {
        let (running, since) = (Release::running().expect("uname(2) gives no release"), self.since());
        if running < since {
            eprintln!("\n*** {test}: NOT TESTED: {self:?} takes Linux {since}, this is {running} ***\n");
        }
        running >= since
    }
}

#[test]
fn every_feature_has_one_row_and_a_supported_release() {
    for feature in ALL {
        assert_eq!(TABLE.iter().filter(|row| row.0 == feature).count(), 1, "{feature:?}");
        assert!(feature.since() > Release(5, 10, 0), "{feature:?} is everywhere, so it needs no row");
    }
}
