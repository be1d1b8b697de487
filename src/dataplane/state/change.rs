//! What the programs report of connections while a process watches.

use std::net::{Ipv6Addr, SocketAddr};

use crate::asm::{Field, Laid};
use crate::dataplane::options::mapped;
use crate::dataplane::state::socket::Address;
use crate::dataplane::state::traffic::{SocketTraffic, Traffic, number, put};
use crate::layout;

layout! {
    /// The value of [`super::MapRole::Wanted`].
    pub(in crate::dataplane) struct Wanted: 8 {
        /// Changes are reported until this time of `CLOCK_MONOTONIC`, in nanoseconds; 0 while no process watches.
        UNTIL: u64 = 0;
    }
}

layout! {
    /// One record in [`super::MapRole::Changes`].
    pub(in crate::dataplane) struct Raw: 112 {
        KIND: u64 = 0;
        /// `CLOCK_MONOTONIC` in nanoseconds.
        TIME: u64 = 8;
        /// The socket whose callback this was; 0 when it has none.
        COOKIE: u64 = 16;
        /// Its peer; 0 when it is not known.
        PEER_COOKIE: u64 = 24;
        LOCAL: Address = 32;
        REMOTE: Address = 48;
        /// Host byte order.
        LOCAL_PORT: u32 = 64;
        REMOTE_PORT: u32 = 68;
        TRAFFIC: Traffic = 72;
    }
}

macro_rules! kinds {
    ($( #[doc = $doc:literal] $variant:ident = $name:literal; )*) => {
        /// What has happened to a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ChangeKind { $( #[doc = $doc] $variant, )* }

        impl ChangeKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The word for JSON.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// What it means, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => $doc.trim_ascii(), )* }
            }
        }
    };
}

kinds! {
    /// The passive end has found its active end: their messages can be redirected from now on.
    Paired = "paired";
    /// The pair has left the sockhash and is plain TCP again.
    Left = "left";
    /// An active end has left the sockhash because its peer is on another node, or outside the cgroup.
    Unclaimed = "unclaimed";
    /// The active end of a connection inside the cgroup has closed.
    Closed = "closed";
    /// The sockhash has refused a socket, which stays plain TCP: it is full, or does not take this kind of socket.
    Refused = "refused";
    /// The kernel had no memory for the state of a socket, which stays plain TCP.
    NoStorage = "no_storage";
    /// A connection that was plain TCP has become a pair: their messages can be redirected from now on.
    Adopted = "adopted";
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What has happened.
    pub kind: ChangeKind,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The number of the socket that this end of the connection has; 0 when it is not known.
    pub cookie: u64,
    /// The number of its peer's socket; 0 when it is not known.
    pub peer_cookie: u64,
    /// Own address.
    pub local: SocketAddr,
    /// The peer's address, as this end sees it.
    pub remote: SocketAddr,
    /// What this end has sent.
    pub traffic: SocketTraffic,
}

impl Change {
    /// What one takes in the ring buffer, with its header (`BPF_RINGBUF_HDR_SZ`).
    pub const RING_BYTES: usize = 8 + Raw::BYTES;

    /// That a connection has been adopted, with the numbers and addresses of the passive end and its peer.
    pub fn adopted(time: u64, [cookie, peer_cookie]: [u64; 2], [local, remote]: [SocketAddr; 2]) -> Self {
        Self { kind: ChangeKind::Adopted, time, cookie, peer_cookie, local, remote, traffic: SocketTraffic::default() }
    }

    /// As the programs write it, of a connection that has sent nothing as a pair.
    pub(in crate::dataplane) fn to_bytes(self) -> [u8; Raw::BYTES] {
        let mut bytes = [0; Raw::BYTES];
        let mut put = |at: i32, value: &[u8]| put(&mut bytes, at, value);
        let kind = ChangeKind::ALL.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u64;
        for (place, number) in [
            (Raw::KIND, kind),
            (Raw::TIME, self.time),
            (Raw::COOKIE, self.cookie),
            (Raw::PEER_COOKIE, self.peer_cookie),
        ] {
            put(place.offset(), &number.to_ne_bytes());
        }
        for (socket, address, port) in
            [(self.local, Raw::LOCAL, Raw::LOCAL_PORT), (self.remote, Raw::REMOTE, Raw::REMOTE_PORT)]
        {
            put(address.offset(), &mapped(socket.ip()).octets());
            put(port.offset(), &u32::from(socket.port()).to_ne_bytes());
        }
        bytes
    }

    /// From the ring buffer's bytes; `None` when they are nothing of the kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Raw::BYTES] = bytes.try_into().ok()?;
        let long = |field: Field<Raw, u64>| number(bytes, field.offset()).map(u64::from_ne_bytes);
        let address = |address: Field<Raw, Address>, port: Field<Raw, u32>| {
            let ip = Ipv6Addr::from(number::<16>(bytes, address.offset())?).to_canonical();
            let port = u32::from_ne_bytes(number(bytes, port.offset())?);
            Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
        };
        Some(Self {
            kind: *ChangeKind::ALL.get(usize::try_from(long(Raw::KIND)?).ok()?)?,
            time: long(Raw::TIME)?,
            cookie: long(Raw::COOKIE)?,
            peer_cookie: long(Raw::PEER_COOKIE)?,
            local: address(Raw::LOCAL, Raw::LOCAL_PORT)?,
            remote: address(Raw::REMOTE, Raw::REMOTE_PORT)?,
            traffic: SocketTraffic::read(bytes, Raw::TRAFFIC.offset())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Counter;

    #[test]
    fn a_change_is_read_as_the_program_writes_it() {
        let mut bytes = [0; Raw::BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &1_u64.to_ne_bytes());
        put(16, &5_u64.to_ne_bytes());
        put(32 + 10, &[0xff, 0xff, 127, 0, 0, 1]);
        put(48 + 15, &[1]);
        put(64, &80_u32.to_ne_bytes());
        put(72, &9_u64.to_ne_bytes());
        put(72 + 36, &(Counter::PassStream as u32 * 8).to_ne_bytes());
        let change = Change::from_bytes(&bytes).unwrap();
        assert_eq!((change.kind, change.cookie), (ChangeKind::Left, 5));
        assert_eq!((change.local.to_string(), change.remote.to_string()), ("127.0.0.1:80".into(), "[::1]:0".into()));
        let SocketTraffic { redirected_bytes, last_reason, leaving, .. } = change.traffic;
        assert_eq!((redirected_bytes, last_reason, leaving), (9, None, Some(Counter::PassStream)));
        let adopted = Change::adopted(1, [2, 3], [change.local, change.remote]);
        assert_eq!(Change::from_bytes(&adopted.to_bytes()), Some(adopted));
        bytes[..8].copy_from_slice(&99_u64.to_ne_bytes());
        assert_eq!(Change::from_bytes(&bytes), None);
        assert_eq!(Change::from_bytes(&bytes[1..]), None);
    }
}
