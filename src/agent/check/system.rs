//! Mounts, and what the kernel was built with and set to.

use super::finding::{Answer, Finding, Need};
use crate::syscall::btf::vmlinux;
use crate::syscall::sysctl::{self, Lockdown};
use crate::syscall::{Error, Release, bpffs, cgroup};

/// The file systems.
pub(super) fn mounts() -> Vec<Finding> {
    let mounted = |found: Result<Option<std::path::PathBuf>, Error>| match found {
        Ok(Some(path)) => Answer::Yes(path.display().to_string()),
        Ok(None) => Answer::No("it is mounted nowhere".into()),
        Err(error) => Answer::unknown(&error),
    };
    vec![
        Finding::new("mounts", Need::Required, "cgroup2 is mounted", mounted(cgroup::find()))
            .why("The sock_ops program hangs on a cgroup2 directory.")
            .remedy("mount -t cgroup2 none /sys/fs/cgroup"),
        Finding::new("mounts", Need::Optional, "bpffs is mounted", mounted(bpffs::find()))
            .why("Pins, by which an agent finds its maps and programs again after a restart, live there.")
            .remedy("mount -t bpf bpf /sys/fs/bpf"),
    ]
}

/// The kernel.
pub(super) fn kernel() -> Vec<Finding> {
    let btf = vmlinux();
    let types = match &btf {
        Ok(btf) => Answer::Yes(format!("{} types", btf.type_count())),
        Err(error @ Error::Missing { .. }) => Answer::No(error.to_string()),
        Err(error) => Answer::unknown(error),
    };
    let function = |name: &str| match &btf {
        Ok(btf) => match btf.func_by_name(name) {
            Some(id) => Answer::Yes(format!("BTF id {id}")),
            None => Answer::No(format!("Linux {} has no such function", Release::running_text())),
        },
        Err(_) => Answer::Unknown("there is no vmlinux BTF to look in".into()),
    };
    let lockdown = match sysctl::lockdown() {
        Ok(Some(Lockdown::Confidentiality)) => Answer::No("lockdown=confidentiality".into()),
        Ok(Some(Lockdown::Integrity)) => Answer::Yes("lockdown=integrity".into()),
        Ok(Some(Lockdown::None)) => Answer::Yes("lockdown=none".into()),
        Ok(None) => Answer::Unknown("/sys/kernel/security/lockdown is not there".into()),
        Err(error) => Answer::unknown(&error),
    };
    let jit = match sysctl::number("net/core/bpf_jit_enable") {
        Ok(Some(0)) => Answer::No("net.core.bpf_jit_enable is 0".into()),
        Ok(Some(value)) => Answer::Yes(format!("net.core.bpf_jit_enable is {value}")),
        Ok(None) => Answer::Unknown("this network namespace does not show net.core.bpf_jit_enable".into()),
        Err(error) => Answer::unknown(&error),
    };
    vec![
        Finding::new("kernel", Need::Optional, "the kernel shows its types (BTF)", types)
            .why("The gate needs the offsets of socket fields; without, the sticky tier is used.")
            .remedy("use a kernel built with CONFIG_DEBUG_INFO_BTF=y"),
        Finding::new("kernel", Need::Optional, "iterator bpf_iter_sockmap", function("bpf_iter_sockmap"))
            .why("It empties the sockhash at detach without losing unread bytes.")
            .remedy("use Linux 5.10 or later"),
        Finding::new("kernel", Need::Optional, "kfunc bpf_rdonly_cast", function("bpf_rdonly_cast"))
            .why(
                "Without, the gate reads the peer's socket by helper calls: the same checks, twice the time a message.",
            )
            .remedy("nothing has to be done; Linux 6.2 and later have it"),
        Finding::new("kernel", Need::Optional, "programs may read kernel memory (lockdown)", lockdown)
            .why("Under lockdown=confidentiality the gate cannot see the peer, and the sticky tier is used.")
            .remedy("mount securityfs on /sys/kernel/security to see the mode; boot without lockdown=confidentiality"),
        Finding::new("kernel", Need::Optional, "programs are compiled (JIT)", jit)
            .why("Interpreted programs cost more than the stack they replace.")
            .remedy("sysctl net.core.bpf_jit_enable=1"),
    ]
}
