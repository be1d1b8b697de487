//! TCP segments from a raw socket, which only needs CAP_NET_RAW over the network namespace.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};

/// Bits of the TCP header's 14th byte.
pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const ACK: u8 = 1 << 4;

/// Sends a segment without data.
pub(crate) fn inject(from: SocketAddrV4, to: SocketAddrV4, flags: u8, seq: u32, ack: u32) -> io::Result<()> {
    // RFC 9293, section 3.1: ports, numbers, length of 5 words, flags, window, checksum, urgent pointer.
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut pseudo = [0; 12];
    pseudo[0..4].copy_from_slice(&from.ip().octets());
    pseudo[4..8].copy_from_slice(&to.ip().octets());
    pseudo[9] = libc::IPPROTO_TCP as u8;
    pseudo[11] = tcp.len() as u8;
    let check = checksum(&[&pseudo[..], &tcp[..]].concat());
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    // RFC 791, section 3.1: version and length of 5 words, total length, time to live, protocol; the kernel fills in the
    // identification and the checksum (raw(7)).
    let mut ip = [0; 20];
    ip[0] = 4 << 4 | 5;
    ip[3] = (ip.len() + tcp.len()) as u8;
    ip[8] = 64;
    ip[9] = libc::IPPROTO_TCP as u8;
    ip[12..16].copy_from_slice(&from.ip().octets());
    ip[16..20].copy_from_slice(&to.ip().octets());
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let target = SockaddrStorage::from(SocketAddr::V4(SocketAddrV4::new(*to.ip(), 0)));
    sendto(raw.as_raw_fd(), &[ip, tcp].concat(), &target, MsgFlags::empty())?;
    Ok(())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
