//! Redirection of a pod's traffic to its sidecar, by the rules Istio installs in REDIRECT mode.
//!
//! [`rules`] holds them as data; [`nft`] gives them to nf_tables over netlink, and [`iptables`] to the iptables binary
//! where the kernel has no nf_tables NAT.

mod iptables;
mod nft;
mod rules;

use super::{Error, NetNs};

/// The address families to install rules for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Installs Istio's rules in a pod.
pub(super) fn install(pod: &NetNs, families: &[Family]) -> Result<(), Error> {
    pod.run(|| {
        families.iter().try_for_each(|&family| {
            let rules = rules::istio(family);
            let Err(refusal) = nft::install(family, &rules) else { return Ok(()) };
            iptables::install(family, &rules).map_err(|iptables| Error::Redirect { nft: refusal.to_string(), iptables })
        })
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root. What the rules do is tested in tests/testbed.
    #[test]
    fn nf_tables_and_iptables_both_take_the_rules() {
        let netns = NetNs::with_loopback().expect("this test makes a network namespace, so it must run as root");
        for family in [Family::V4, Family::V6] {
            let rules = rules::istio(family);
            netns.run(|| nft::install(family, &rules)).unwrap().unwrap();
            match netns.run(|| iptables::install(family, &rules)).unwrap() {
                Err(why) if why.contains("is installed") => eprintln!("NOT TESTED: {why}"),
                result => result.unwrap(),
            }
        }
    }
}
