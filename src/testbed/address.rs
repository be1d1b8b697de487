//! Names and numbers of the testbed: two pods, a service, and Istio's ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// User and group id of Istio's sidecar; its own traffic is not redirected.
pub const SIDECAR_ID: u32 = 1337;
/// User and group id of the app and its client.
pub const APP_ID: u32 = 1000;
/// Istio's listener for what leaves the pod.
pub const OUTBOUND_PORT: u16 = 15001;
/// Istio's listener for what enters the pod.
pub const INBOUND_PORT: u16 = 15006;

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The pod of the client.
    pub client_pod: IpAddr,
    /// The pod of the app.
    pub server_pod: IpAddr,
    /// Length of the pods' prefix.
    pub prefix: u8,
    /// The app, at the pod it runs in.
    pub app: SocketAddr,
    /// The service: a virtual address that only the client's sidecar can translate.
    pub service: SocketAddr,
    /// From where Istio's sidecar connects to the app it guards.
    pub inbound_source: IpAddr,
    /// The address of the loopback link.
    pub loopback: IpAddr,
    /// All addresses of a pod.
    pub any: IpAddr,
}

const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2));
const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 3));
const SERVICE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10));
const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 77, 3));

impl Addresses {
    /// IPv4.
    pub const V4: Self = Self {
        client_pod: IpAddr::V4(Ipv4Addr::new(10, 244, 77, 2)),
        server_pod: SERVER_V4,
        prefix: 24,
        app: SocketAddr::new(SERVER_V4, 8080),
        service: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80),
        inbound_source: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
        loopback: IpAddr::V4(Ipv4Addr::LOCALHOST),
        any: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };

    /// IPv6.
    pub const V6: Self = Self {
        client_pod: CLIENT_V6,
        server_pod: SERVER_V6,
        prefix: 64,
        app: SocketAddr::new(SERVER_V6, 8080),
        service: SocketAddr::new(SERVICE_V6, 80),
        inbound_source: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
        loopback: IpAddr::V6(Ipv6Addr::LOCALHOST),
        any: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
}
