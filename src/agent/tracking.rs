//! How often accelerated connections must be seen by connection tracking.

use crate::syscall::sysctl;

/// Most seconds between probes: the kernel's own default (`TCP_KEEPALIVE_TIME`, include/net/tcp.h), a twelfth of the
/// lifetime that kube-proxy gives to the entries of established connections.
const MOST: i64 = 7_200;

/// Seconds for [`Config::keepalive`](crate::dataplane::Config::keepalive): a third of what an established connection's
/// entry lives, and 0 where connections are not tracked.
///
/// A pod's namespace may have another lifetime, which is 5 days unless it was changed.
pub fn keepalive() -> u32 {
    match sysctl::number("net/netfilter/nf_conntrack_tcp_timeout_established") {
        Ok(Some(seconds)) => (seconds / 3).clamp(1, MOST) as u32,
        _ => 0,
    }
}
