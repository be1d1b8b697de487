//! Links, addresses and routes over rtnetlink: what `ip link`, `ip addr` and `ip route` do.
//!
//! Each function works in the network namespace of the calling thread; see [`NetNs::run`](super::NetNs::run).

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Error;
use super::netlink::{CREATE, EXCL, Message, Socket};

/// `IFLA_IFNAME`, include/uapi/linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
/// `IFLA_LINKINFO`.
const IFLA_LINKINFO: u16 = 18;
/// `IFLA_NET_NS_FD`: descriptor of the namespace that the link goes to.
const IFLA_NET_NS_FD: u16 = 28;
/// `IFLA_INFO_KIND`.
const IFLA_INFO_KIND: u16 = 1;
/// `IFLA_INFO_DATA`.
const IFLA_INFO_DATA: u16 = 2;
/// `VETH_INFO_PEER`, include/uapi/linux/veth.h: a `struct ifinfomsg` and its attributes.
const VETH_INFO_PEER: u16 = 1;
/// `IFA_ADDRESS`, include/uapi/linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
/// `IFA_LOCAL`.
const IFA_LOCAL: u16 = 2;
/// `IFA_F_NODAD`: usable at once, without duplicate address detection.
const IFA_F_NODAD: u8 = 0x02;
/// `RTA_OIF`, include/uapi/linux/rtnetlink.h.
const RTA_OIF: u16 = 4;
/// `RT_TABLE_MAIN`.
const RT_TABLE_MAIN: u8 = 254;
/// `RTPROT_BOOT`: a route that a user typed.
const RTPROT_BOOT: u8 = 3;
/// `RT_SCOPE_LINK`: no gateway.
const RT_SCOPE_LINK: u8 = 253;
/// `RTN_UNICAST`.
const RTN_UNICAST: u8 = 1;

const ROOT: &str = "run as root (CAP_NET_ADMIN)";
const VETH: &str = "run as root (CAP_NET_ADMIN), on a kernel with the module veth (CONFIG_VETH)";

/// A link of a namespace of the testbed. Both indices are known beforehand, so that none has to be looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    name: &'static str,
    index: u32,
}

impl Link {
    /// The loopback link, the first of every namespace: `LOOPBACK_IFINDEX`, include/net/net_namespace.h.
    pub(super) const LOOPBACK: Self = Self { name: "lo", index: 1 };
    /// A pod's end of the veth pair, named as in Kubernetes. [`add_veth`] chooses the index.
    pub(super) const POD: Self = Self { name: "eth0", index: 2 };
}

/// Makes a veth pair: [`Link::POD`] here and in the namespace `peer`.
pub(super) fn add_veth(peer: BorrowedFd<'_>) -> Result<(), Error> {
    let Link { name, index } = Link::POD;
    let message = Message::new(libc::RTM_NEWLINK, CREATE | EXCL, &link_header(index, 0, 0))
        .attr_str(IFLA_IFNAME, name)
        .nested(IFLA_LINKINFO, |info| {
            info.attr_str(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |end| {
                    end.raw(&link_header(index, 0, 0))
                        .attr_str(IFLA_IFNAME, name)
                        .attr_ne32(IFLA_NET_NS_FD, peer.as_raw_fd() as u32)
                })
            })
        });
    send(message, || "join two pods with a veth pair".into(), VETH)
}

/// Sets a link up.
pub(super) fn set_up(link: Link) -> Result<(), Error> {
    let up = libc::IFF_UP as u32;
    let message = Message::new(libc::RTM_NEWLINK, 0, &link_header(link.index, up, up));
    send(message, || format!("set the link {} up", link.name), ROOT)
}

/// Adds an address to a link.
pub(super) fn add_address(link: Link, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let (family, bytes) = parts(address);
    // struct ifaddrmsg { u8 family, prefixlen, flags, scope; u32 index; }
    let mut header = [family, prefix, IFA_F_NODAD, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let message =
        Message::new(libc::RTM_NEWADDR, CREATE | EXCL, &header).attr(IFA_LOCAL, &bytes).attr(IFA_ADDRESS, &bytes);
    send(
        message,
        || format!("add the address {address}/{prefix} to the link {}", link.name),
        "enable IPv6 if it is one",
    )
}

/// Routes everything of the family of `family` out of a link, without a gateway.
pub(super) fn add_default_route(link: Link, family: IpAddr) -> Result<(), Error> {
    let (family, _) = parts(family);
    // struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; }
    let header = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
    let message = Message::new(libc::RTM_NEWROUTE, CREATE | EXCL, &header).attr_ne32(RTA_OIF, link.index);
    send(message, || format!("route a pod's traffic through the link {}", link.name), ROOT)
}

fn send(message: Message, what: impl Fn() -> String, remedy: &'static str) -> Result<(), Error> {
    Socket::route()
        .and_then(|mut socket| socket.request(message))
        .map_err(|refusal| refusal.while_trying(what(), remedy))
}

/// `struct ifinfomsg { u8 family, pad; u16 type; s32 index; u32 flags, change; }`
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().to_vec()),
    }
}
