//! Netlink messages: a small builder, and a socket that sends them and reads the acknowledgements.
//!
//! ```text
//! struct nlmsghdr  { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }   include/uapi/linux/netlink.h
//! struct nlattr    { u16 len; u16 type; } payload, padded to 4 bytes
//! struct nlmsgerr  { s32 error; struct nlmsghdr request; } [attributes]
//! ```
//! Integers are in the byte order of the machine unless a subsystem says otherwise.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::Error;

/// `sizeof(struct nlmsghdr)`.
const HEADER: usize = 16;
/// `NLMSG_ERROR`, include/uapi/linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const NLM_F_REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: answer even when all went well.
const NLM_F_ACK: u16 = 0x04;
/// `NLM_F_CAPPED`: the answer does not repeat the request's payload.
const NLM_F_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow the answer.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation, a string.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// `NLA_F_NESTED`.
const NLA_F_NESTED: u16 = 0x8000;

/// `NLM_F_EXCL`: fail when it exists.
pub(super) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`: create when it does not exist.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: put it at the end.
pub(super) const APPEND: u16 = 0x800;

/// A netlink message under construction.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a message of `kind` with the subsystem's fixed header after the common one. [`APPEND`], [`CREATE`] and
    /// [`EXCL`] may be given as `flags`; that it is a request is understood.
    pub(super) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// Appends an attribute.
    pub(super) fn attr(mut self, kind: u16, payload: &[u8]) -> Self {
        self.push(kind, payload);
        self
    }

    /// Appends an attribute that is a string with a closing zero.
    pub(super) fn attr_str(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends a big-endian 32-bit attribute, as nf_tables wants them all.
    pub(super) fn attr_be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a 32-bit attribute in the machine's byte order, as rtnetlink wants them.
    pub(super) fn attr_ne32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute that holds whatever `inside` appends.
    pub(super) fn nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.push(kind | NLA_F_NESTED, &[]);
        let mut message = inside(self);
        let length = (message.bytes.len() - start) as u16;
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// Appends raw bytes: a fixed header inside a nested attribute.
    pub(super) fn raw(mut self, payload: &[u8]) -> Self {
        self.bytes.extend_from_slice(payload);
        self.pad();
        self
    }

    fn push(&mut self, kind: u16, payload: &[u8]) {
        let length = (4 + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished bytes, with length and sequence number set.
    fn finish(mut self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A refusal: errno and, where the kernel gave it, its explanation.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The errno.
    pub(super) source: io::Error,
    /// `NLMSGERR_ATTR_MSG`.
    pub(super) kernel_says: Option<String>,
}

impl Refusal {
    /// Says what was being tried.
    pub(super) fn while_trying(self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Netlink { what: what.into(), source: self.source, kernel_says: self.kernel_says, remedy }
    }
}

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { source: error.into(), kernel_says: None }
    }
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket for rtnetlink.
    pub(super) fn route() -> Result<Self, Refusal> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for netfilter.
    pub(super) fn netfilter() -> Result<Self, Refusal> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Refusal> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // The kernel answers within sendmsg(2); the timeout only bounds the unthinkable.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
        let on: libc::c_int = 1;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            // SAFETY: the descriptor is open, and the option value is a live int whose size is given.
            let done = unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
            if done != 0 {
                return Err(io::Error::last_os_error().into());
            }
        }
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends one request and waits for its acknowledgement.
    pub(super) fn request(&mut self, message: Message) -> Result<(), Refusal> {
        self.exchange(vec![message], |_| true)
    }

    /// Sends all messages in one datagram (nfnetlink treats it as a transaction). `acknowledged` says, by index,
    /// which of them are answered.
    pub(super) fn exchange(
        &mut self,
        messages: Vec<Message>,
        acknowledged: impl Fn(usize) -> bool,
    ) -> Result<(), Refusal> {
        let mut datagram = Vec::new();
        let mut pending = 0;
        for (index, message) in messages.into_iter().enumerate() {
            self.sequence += 1;
            let ack = acknowledged(index);
            pending += usize::from(ack);
            datagram.extend(message.finish(self.sequence, if ack { NLM_F_ACK } else { 0 }));
        }
        sendto(self.fd.as_raw_fd(), &datagram, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = vec![0; 16 << 10];
        while pending > 0 {
            let length = recv(self.fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            pending = pending.saturating_sub(read_answers(&answer[..length])?);
        }
        Ok(())
    }
}

/// Counts the acknowledgements in a datagram; the first refusal ends it.
fn read_answers(mut rest: &[u8]) -> Result<usize, Refusal> {
    let mut count = 0;
    while rest.len() >= HEADER + 4 {
        let length = (u32_at(rest, 0) as usize).clamp(HEADER, rest.len());
        let message = &rest[..length];
        if u16_at(message, 4) == NLMSG_ERROR && length >= HEADER + 4 {
            let errno = (u32_at(message, HEADER) as i32).wrapping_neg();
            if errno != 0 {
                return Err(Refusal { source: io::Error::from_raw_os_error(errno), kernel_says: explanation(message) });
            }
            count += 1;
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    Ok(count)
}

/// The kernel's text in an `NLMSG_ERROR`.
fn explanation(message: &[u8]) -> Option<String> {
    let flags = u16_at(message, 6);
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // The request follows the error code: its header only when capped, else all of it.
    let request = message.get(HEADER + 4..)?;
    let echoed = if flags & NLM_F_CAPPED != 0 || request.len() < HEADER { HEADER } else { u32_at(request, 0) as usize };
    let mut attributes = request.get(echoed.next_multiple_of(4)..)?;
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0)).clamp(4, attributes.len());
        if u16_at(attributes, 2) == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(&attributes[4..length]);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_lengths_cover_their_content() {
        let message = Message::new(16, CREATE, &[0; 16]).nested(18, |inside| inside.attr_str(1, "veth")).attr(3, &[7]);
        let bytes = message.finish(9, NLM_F_ACK);
        assert_eq!(u32_at(&bytes, 0) as usize, bytes.len());
        assert_eq!(u16_at(&bytes, 6), CREATE | NLM_F_REQUEST | NLM_F_ACK);
        assert_eq!(u32_at(&bytes, 8), 9);
        // nlattr(18): 4 + nlattr(1): 4 + "veth\0" padded to 8.
        assert_eq!((u16_at(&bytes, 32), u16_at(&bytes, 34)), (16, 18 | NLA_F_NESTED));
        assert_eq!((u16_at(&bytes, 36), u16_at(&bytes, 38)), (9, 1));
        assert_eq!((u16_at(&bytes, 48), u16_at(&bytes, 50), bytes[52]), (5, 3, 7));
        assert_eq!(bytes.len(), 56);
    }

    #[test]
    fn answers_that_are_cut_short_or_absurd_do_not_panic() {
        let mut answer = [0xff_u8; 64];
        for length in 0..=answer.len() {
            let _ = read_answers(&answer[..length]);
        }
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        for length in 0..=answer.len() {
            let _ = read_answers(&answer[..length]);
        }
    }

    #[test]
    fn the_kernels_own_words_are_found() {
        let mut answer = Message::new(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &(-17_i32).to_ne_bytes());
        answer = answer.raw(&[0; HEADER]).attr_str(NLMSGERR_ATTR_MSG, "already here");
        let refusal = read_answers(&answer.finish(1, 0)).expect_err("EEXIST is a refusal");
        assert_eq!(refusal.source.raw_os_error(), Some(17));
        assert_eq!(refusal.kernel_says.as_deref(), Some("already here"));
    }
}
