//! Networks, IPv4 and IPv6. IPv4 stands as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that a mapped socket is
//! held by the IPv4 network of its address.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Bits of an IPv4-mapped address before the IPv4 address: the network ::ffff:0:0/96.
const MAPPED: u8 = 96;

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub(in crate::dataplane) address: u128,
    prefix: u8,
}

/// The address itself, or the IPv6 address that stands for an IPv4 address (RFC 4291, section 2.5.5.2).
pub(in crate::dataplane) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

impl Network {
    /// The network of the first `prefix` bits of `address`; `None` when the address has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (address, prefix, bits) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), prefix.checked_add(MAPPED)?, prefix),
            IpAddr::V6(v6) => (v6, prefix, prefix),
        };
        let network = Self { address: address.to_bits(), prefix };
        (prefix <= 128 && bits <= 128).then(|| Self { address: network.address & network.mask(), ..network })
    }

    /// Whether the address is in it. An IPv4 address is the same as its mapped one.
    pub fn holds(self, address: IpAddr) -> bool {
        mapped(address).to_bits() & self.mask() == self.address
    }

    /// The network's first address, in the family of `like`.
    fn first(self, like: IpAddr) -> IpAddr {
        let first = Ipv6Addr::from_bits(self.address);
        match like {
            IpAddr::V4(_) => first.to_ipv4_mapped().map_or(IpAddr::V6(first), IpAddr::V4),
            IpAddr::V6(_) => IpAddr::V6(first),
        }
    }

    pub(in crate::dataplane) fn mask(self) -> u128 {
        // A shift by all 128 bits leaves nothing.
        !u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0)
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.0.0.0/8`, `fd00::/8`, or an address alone. Bits behind the prefix must be 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().ok()),
            None => (text, Some(if text.contains(':') { 128 } else { 32 })),
        };
        let (address, prefix, network) = address
            .parse()
            .ok()
            .zip(prefix)
            .and_then(|(address, prefix)| Some((address, prefix, Self::new(address, prefix)?)))
            .ok_or_else(|| format!("{text:?} is not a network; write 10.0.0.0/8, fd00::/8 or one address"))?;
        let first = network.first(address);
        if address != first {
            return Err(format!("{text:?} has bits behind its prefix; write {first}/{prefix} or {address}"));
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_or_refused() {
        let network = |text: &str| text.parse::<Network>();
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("10.1.2.3"), network("::ffff:10.1.2.3/128"));
        assert_eq!(network("0.0.0.0/0"), network("::ffff:0:0/96"));
        assert_eq!(network("::/0").unwrap().mask(), 0);
        assert_eq!(network("::1").unwrap().prefix, 128);
        for text in ["", "/8", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/255", "host"]
        {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bits_behind_the_prefix_are_refused_with_what_was_meant() {
        let refusal = |text: &str| text.parse::<Network>().unwrap_err();
        assert!(refusal("10.1.2.3/8").contains("write 10.0.0.0/8 or 10.1.2.3"), "{}", refusal("10.1.2.3/8"));
        assert!(refusal("fd12::1/16").contains("write fd12::/16 or fd12::1"), "{}", refusal("fd12::1/16"));
    }
}
