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
    /// Giving files to other users.
    Chown = 0,
    /// Writing to files and directories whatever their mode says.
    DacOverride = 1,
    /// Reading files and directories of other users.
    DacReadSearch = 2,
    /// Changing the groups of this process.
    SetGid = 6,
    /// Changing the user of this process.
    SetUid = 7,
    /// Network configuration: loading sk_msg and sock_ops programs, attaching them.
    NetAdmin = 12,
    /// Looking into processes of other users, and taking descriptors of theirs.
    SysPtrace = 19,
    /// Everything that has no capability of its own.
    SysAdmin = 21,
    /// Scheduling before others.
    SysNice = 23,
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
            Self::Chown => "CAP_CHOWN",
            Self::SetGid => "CAP_SETGID",
            Self::SetUid => "CAP_SETUID",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysNice => "CAP_SYS_NICE",
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
        Self::read("/proc/thread-self/status")
    }

    fn read(file: &str) -> Result<Self> {
        let text = sysctl::read(Path::new(file))?;
        Self::parse(&text).ok_or_else(|| Error::Malformed {
            what: "/proc/PID/status",
            why: "it has no CapEff line with a hexadecimal number".into(),
        })
    }

    fn parse(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    /// Exactly these.
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |set, capability| set | 1 << *capability as u8))
    }

    /// The effective set of a process's first thread.
    pub fn of_process(process: u32) -> Result<Self> {
        Self::read(&format!("/proc/{process}/status"))
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

impl fmt::Display for Capabilities {
    /// As /proc/PID/status has them (`render_cap_t`, fs/proc/array.c).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// `struct __user_cap_header_struct` (include/uapi/linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up all capabilities of this thread but these, forever: no program that it executes gets them back either. Threads
/// that it starts later have what it has.
pub fn keep_only(kept: &[Capability]) -> Result<()> {
    let failed = |errno: nix::errno::Errno| Error::Invalid(format!("cannot give up capabilities: {}", errno.desc()));
    nix::sys::prctl::set_no_new_privs().map_err(failed)?;
    let header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the header and the two words are live and of the version's size.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    nix::errno::Errno::result(got).map_err(failed)?;
    for (number, word) in data.iter_mut().enumerate() {
        let bits = kept.iter().map(|capability| *capability as usize).filter(|bit| bit / 32 == number);
        let mask = bits.fold(0, |mask, bit| mask | 1_u32 << (bit % 32));
        word.permitted &= mask;
        // A change of the user has emptied the effective set.
        word.effective = word.permitted;
        word.inheritable = 0;
    }
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    nix::errno::Errno::result(set).map(drop).map_err(failed)
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
