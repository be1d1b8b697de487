//! What the testbed can fail with: one sentence each, with what to do about it.

use std::io;
use std::path::PathBuf;

/// A failure of the testbed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A namespace could not be made.
    #[error("cannot make a network namespace: {0}; run as root (CAP_SYS_ADMIN), on a kernel with CONFIG_NET_NS")]
    NamespaceNew(#[source] io::Error),
    /// A thread could not enter a namespace.
    #[error("cannot enter a network namespace of the testbed: {0}; run as root (CAP_SYS_ADMIN)")]
    NamespaceEnter(#[source] io::Error),
    /// Netlink refused a request.
    #[error("cannot {what} over netlink: {source}{}; {remedy}", detail(.kernel_says))]
    Netlink {
        /// What was asked for, as a verb phrase.
        what: String,
        /// The kernel's errno.
        #[source]
        source: io::Error,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), if it had any.
        kernel_says: Option<String>,
        /// What to do.
        remedy: &'static str,
    },
    /// A sysctl of a pod could not be written.
    #[error("cannot write {value:?} to {path}: {source}; /proc/sys must be writable in the caller's mount namespace")]
    Sysctl {
        /// Path below `/proc/sys`.
        path: &'static str,
        /// The value.
        value: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Neither nf_tables nor iptables can redirect in a pod.
    #[error(
        "cannot redirect a pod's traffic to its sidecar: nf_tables says \"{nft}\", and {iptables}; load the modules \
         nf_tables, nft_chain_nat, nft_redir and nf_conntrack (CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_REDIR), \
         or install iptables"
    )]
    Redirect {
        /// Why nf_tables could not.
        nft: String,
        /// Why iptables could not.
        iptables: String,
    },
    /// A cgroup operation failed.
    #[error("cannot {what} the cgroup {}: {source}; run as root with a writable cgroup2 hierarchy", .path.display())]
    Cgroup {
        /// What was tried, as a verb.
        what: &'static str,
        /// The cgroup's directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process of the testbed could not be started.
    #[error("cannot start the testbed's {role}: {source}; run as root, from a file that may be executed")]
    Spawn {
        /// Its part.
        role: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process of the testbed failed.
    #[error("the testbed's {role} failed: {why}")]
    Process {
        /// Its part.
        role: &'static str,
        /// What it said, or how it ended.
        why: String,
    },
    /// A process of the testbed did not answer in time.
    #[error("the testbed's {role} gave no answer within {seconds} s; traffic is stuck or the machine is overloaded")]
    Timeout {
        /// Its part.
        role: &'static str,
        /// How long it was given.
        seconds: u64,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn detail(kernel_says: &Option<String>) -> String {
    kernel_says.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}
