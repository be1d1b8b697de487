//! What this process may do: capabilities(7).

use std::fmt;
use std::path::Path;

use super::error::{Error, Result};
use super::sysctl;

/// The capabilities that matter here, with their bit in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Capability {
    /// Network configuration: loading sk_msg and sock_ops programs, attaching them.
    NetAdmin = 12,
    /// Looking into processes of other users, and taking descriptors of theirs.
    SysPtrace = 19,
    /// Everything that has no capability of its own.
    SysAdmin = 21,
    /// Raising limits.
    SysResource = 24,
    /// Tracing: reading kernel memory from a program (5.8).
    Perfmon = 38,
    /// bpf(2) (5.8).
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The effective set of this thread.
    pub fn effective() -> Result<Self> {
        let text = sysctl::read(Path::new("/proc/thread-self/status"))?;
        Self::parse(&text).ok_or_else(|| Error::Malformed {
            what: "/proc/thread-self/status",
            why: "it has no CapEff line with a hexadecimal number".into(),
        })
    }

    fn parse(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    /// Whether `capability` is in the set.
    pub fn has(self, capability: Capability) -> bool {
        self.0 >> (capability as u8) & 1 == 1
    }

    /// Whether the kernel would grant `capability`: `CAP_SYS_ADMIN` stands in for `CAP_BPF` and `CAP_PERFMON`
    /// (bpf_capable and perfmon_capable of `include/linux/capability.h`), but not for the others.
    pub fn grants(self, capability: Capability) -> bool {
        let stands_in = matches!(capability, Capability::Bpf | Capability::Perfmon);
        self.has(capability) || (stands_in && self.has(Capability::SysAdmin))
    }
}

/// Whether this process is in the initial user namespace. Elsewhere capabilities do not reach bpf(2).
pub fn in_initial_user_namespace() -> Result<bool> {
    let map = sysctl::read(Path::new("/proc/self/uid_map"))?;
    // The initial namespace maps all 2^32 - 1 ids to themselves (user_namespaces(7)).
    Ok(map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        let set = Capabilities::parse("Name:\tx\nCapPrm:\t0\nCapEff:\t000001fffeffffff\n").unwrap();
        assert!(set.has(Capability::Bpf) && set.has(Capability::NetAdmin) && !set.has(Capability::SysResource));
        assert_eq!(Capabilities::parse("CapEff:\tzz"), None);
        assert_eq!(Capabilities::parse(""), None);
    }

    #[test]
    fn sys_admin_stands_in_for_bpf_and_perfmon_only() {
        let set = Capabilities(1 << Capability::SysAdmin as u8);
        assert!(set.grants(Capability::Bpf) && set.grants(Capability::Perfmon));
        assert!(!set.grants(Capability::NetAdmin) && !set.grants(Capability::SysResource));
    }
}
