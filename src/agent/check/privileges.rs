//! What this process may do.

use super::finding::{Answer, Finding, Need};
use crate::syscall::caps::{self, Capabilities, Capability};
use crate::syscall::memlock;

const FAMILY: &str = "privileges";

/// The capabilities by name, and the user namespace they count in.
pub(super) fn all() -> Vec<Finding> {
    let effective = Capabilities::effective();
    let granted = |capability: Capability| match &effective {
        Ok(set) if set.has(capability) => Answer::Yes(String::new()),
        Ok(set) if set.grants(capability) => Answer::Yes("CAP_SYS_ADMIN stands in".into()),
        Ok(_) => Answer::No("it is not in the effective set".into()),
        Err(error) => Answer::unknown(error),
    };
    let finding = |need, capability: Capability, why| {
        Finding::new(FAMILY, need, capability.to_string(), granted(capability)).why(why).remedy(format!(
            "run as root, or grant {capability} (setcap, AmbientCapabilities= or the pod's securityContext)"
        ))
    };
    let namespace = match caps::in_initial_user_namespace() {
        Ok(true) => Answer::Yes(String::new()),
        Ok(false) => Answer::No("/proc/self/uid_map maps other ids".into()),
        Err(error) => Answer::unknown(&error),
    };
    let mut findings = vec![
        finding(Need::Required, Capability::Bpf, "Loading programs and creating maps takes it."),
        finding(Need::Required, Capability::NetAdmin, "Loading and attaching sock_ops and sk_msg programs takes it."),
        finding(
            Need::Optional,
            Capability::Perfmon,
            "The gate reads the peer's socket; without, the sticky tier is used.",
        ),
        finding(
            Need::Optional,
            Capability::SysPtrace,
            "The agent names programs, and resets the connection of a trusted one that splices; without, such a connection may lose bytes.",
        ),
        finding(
            Need::Optional,
            Capability::SysNice,
            "The threads that reset such a connection run before others; without, they may come too late on a busy machine.",
        ),
        Finding::new(FAMILY, Need::Required, "initial user namespace", namespace)
            .why("Capabilities of other user namespaces do not reach bpf(2).")
            .remedy("start it outside of the user namespace (hostUsers: true, no rootless container)"),
    ];
    if memlock::matters() {
        let unlimited = matches!(memlock::limit(), Ok(None));
        let answer = if unlimited {
            Answer::Yes("RLIMIT_MEMLOCK is unlimited".into())
        } else {
            granted(Capability::SysResource)
        };
        findings.push(
            Finding::new(FAMILY, Need::Required, "CAP_SYS_RESOURCE", answer)
                .why("Before Linux 5.11 maps count against RLIMIT_MEMLOCK, which has to be raised.")
                .remedy("grant CAP_SYS_RESOURCE, or set LimitMEMLOCK=infinity (ulimit -l unlimited)"),
        );
    }
    findings
}
