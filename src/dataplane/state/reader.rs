//! What is known of the programs that read: a record for each process, and events about them.
//!
//! ```text
//! key      0  process u32   4  0 u32   8  start u64
//! record   0  state u32     4  proven u32   8  seen u32   12  most u32   16  name [16]
//! event    0  kind u32      4  process u32   8  start u64   16  name [16]
//!         32  cookie u64   40  family u16  42  own port u16  44  peer port u16 (network byte order)  46  0 u16
//!         48  own address [16]   64  peer address [16]   as in struct in_addr or in6_addr
//!         80  descriptor u32   84  0 u32
//! ```

use crate::layout;

/// Bytes of a process's key.
pub(in crate::dataplane) const KEY_SIZE: i16 = 16;
/// Bytes of its record.
pub(in crate::dataplane) const RECORD_SIZE: i16 = 32;
/// Bytes of an event.
pub(in crate::dataplane) const EVENT_SIZE: i16 = 88;

/// Of a record: where its process stands.
pub(in crate::dataplane) const STATE: i16 = 0;
/// How many bytes in a row it is trusted with.
pub(in crate::dataplane) const PROVEN: i16 = 4;
/// Receives of more than that.
pub(in crate::dataplane) const SEEN: i16 = 8;
/// The most bytes in a row among them.
pub(in crate::dataplane) const MOST: i16 = 12;
/// The name of the thread that was seen first.
pub(in crate::dataplane) const NAME: i16 = 16;

/// [`STATE`]: the agent has not said yet whether its program is known to splice.
pub(in crate::dataplane) const NEW: i32 = 0;
/// [`STATE`]: it has been seen to splice, or its program has in another life.
pub(in crate::dataplane) const SPLICER: i32 = 2;

/// Of an event: its place.
pub(in crate::dataplane) mod event {
    pub(in crate::dataplane) const KIND: i16 = 0;
    pub(in crate::dataplane) const KEY: i16 = 4;
    pub(in crate::dataplane) const NAME: i16 = 16;
    pub(in crate::dataplane) const COOKIE: i16 = 32;
    pub(in crate::dataplane) const FAMILY: i16 = 40;
    pub(in crate::dataplane) const OWN_PORT: i16 = 42;
    pub(in crate::dataplane) const PEER_PORT: i16 = 44;
    pub(in crate::dataplane) const OWN_ADDRESS: i16 = 48;
    pub(in crate::dataplane) const PEER_ADDRESS: i16 = 64;
    pub(in crate::dataplane) const DESCRIPTOR: i16 = 80;

    /// A process reads for the first time.
    pub(in crate::dataplane) const APPEARED: i32 = 1;
    /// A process has spliced for the first time.
    pub(in crate::dataplane) const SPLICES: i32 = 2;
    /// A process splices from a socket with unread redirected bytes.
    pub(in crate::dataplane) const LOSES: i32 = 3;
    /// A process is trusted with what a socket outside the sockhash receives. Instead of the addresses there is the cookie
    /// of the peer.
    pub(in crate::dataplane) const JOINS: i32 = 4;
    /// The cookie of the peer.
    pub(in crate::dataplane) const PEER_COOKIE: i16 = OWN_ADDRESS;
}

/// Bytes behind the numbers in [`Splices`].
pub(in crate::dataplane) const SCRATCH_SIZE: usize = 2048;

layout! {
    /// The value of [`super::MapRole::Splices`].
    pub(in crate::dataplane) struct Splices: 2056 {
        /// How many sockets have been spliced from.
        SOCKETS: u32 = 0;
        /// How many processes have spliced.
        PROCESSES: u32 = 4;
        /// Bytes without a meaning.
        SCRATCH: [u64; 256] = 8;
    }
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderState {
    /// The agent has not said yet whether its program is known to splice.
    New,
    /// It may earn trust.
    Admitted,
    /// It splices: its connections are not accelerated.
    Splicer,
}

/// One process that reads, as the map has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// Its number in the initial namespace.
    pub process: u32,
    /// When it began, in nanoseconds since boot.
    pub start: u64,
    /// Where it stands.
    pub state: ReaderState,
    /// How many bytes in a row it is trusted with: 0 at first, `u32::MAX` for any number.
    pub proven: u32,
    /// Receives that count for more.
    pub seen: u32,
    /// The most bytes in a row among these.
    pub most: u32,
    /// The name of the thread that was seen first (`comm`).
    pub name: String,
}

fn word(bytes: &[u8], at: i16) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at as usize..)?.first_chunk()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Reader {
    /// From the map's bytes; `None` when they have another size.
    pub fn from_bytes(key: &[u8], record: &[u8]) -> Option<Self> {
        let key: &[u8; KEY_SIZE as usize] = key.try_into().ok()?;
        let record: &[u8; RECORD_SIZE as usize] = record.try_into().ok()?;
        Some(Self {
            process: word(key, 0)?,
            start: u64::from_ne_bytes(*key.last_chunk()?),
            state: match word(record, STATE)? {
                0 => ReaderState::New,
                1 => ReaderState::Admitted,
                _ => ReaderState::Splicer,
            },
            proven: word(record, PROVEN)?,
            seen: word(record, SEEN)?,
            most: word(record, MOST)?,
            name: text(record.get(NAME as usize..)?),
        })
    }

    /// The map's key for a process that began then.
    pub fn key((process, start): (u32, u64)) -> [u8; KEY_SIZE as usize] {
        let mut key = [0; KEY_SIZE as usize];
        key[..4].copy_from_slice(&process.to_ne_bytes());
        key[8..].copy_from_slice(&start.to_ne_bytes());
        key
    }

    /// The map's key and value.
    pub fn to_bytes(&self) -> ([u8; KEY_SIZE as usize], [u8; RECORD_SIZE as usize]) {
        let key = Self::key((self.process, self.start));
        let mut record = [0; RECORD_SIZE as usize];
        let words = [self.state as u32, self.proven, self.seen, self.most];
        let (places, name) = record.split_at_mut(NAME as usize);
        places.chunks_exact_mut(4).zip(words).for_each(|(place, word)| place.copy_from_slice(&word.to_ne_bytes()));
        // One byte stays for the closing zero.
        name.iter_mut().zip(self.name.bytes().take(15)).for_each(|(place, byte)| *place = byte);
        (key, record)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderEventKind {
    /// A process reads for the first time.
    Appeared,
    /// A process has spliced for the first time.
    Splices,
    /// A process splices from a socket with unread redirected bytes.
    Loses(LosingSocket),
    /// A process is trusted with what this socket receives, which is to join the sockhash when its peer is, too.
    Joins(JoiningSocket),
}

/// A socket that is to join the sockhash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoiningSocket {
    /// Its number.
    pub cookie: u64,
    /// Its peer's number.
    pub peer: u64,
    /// The process's descriptor of it, as far as it is known; it may have got another meaning meanwhile.
    pub descriptor: u32,
}

/// A socket, as sock_diag(7) wants it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LosingSocket {
    /// Its number.
    pub cookie: u64,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Its own port and its peer's.
    pub ports: (u16, u16),
    /// Its own address and its peer's, in network byte order; of IPv4, the first 4 bytes.
    pub addresses: ([u8; 16], [u8; 16]),
    /// The process's descriptor of it, as far as it is known; it may have got another meaning meanwhile.
    pub descriptor: u32,
}

/// What the programs report of a process that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderEvent {
    /// What happened.
    pub kind: ReaderEventKind,
    /// The process, in the initial namespace, and when it began.
    pub process: (u32, u64),
    /// The name of the thread.
    pub name: String,
}

impl ReaderEvent {
    /// From the ring buffer's bytes; `None` when they are nothing of the kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; EVENT_SIZE as usize] = bytes.try_into().ok()?;
        let short = |at: i16| Some([*bytes.get(at as usize)?, *bytes.get(at as usize + 1)?]);
        let long = |at: i16| Some(u64::from_ne_bytes(*bytes.get(at as usize..)?.first_chunk()?));
        let address = |at: i16| bytes.get(at as usize..)?.first_chunk().copied();
        let kind = match word(bytes, event::KIND)?.cast_signed() {
            event::APPEARED => ReaderEventKind::Appeared,
            event::SPLICES => ReaderEventKind::Splices,
            event::LOSES => ReaderEventKind::Loses(LosingSocket {
                cookie: long(event::COOKIE)?,
                family: u16::from_ne_bytes(short(event::FAMILY)?),
                ports: (u16::from_ne_bytes(short(event::OWN_PORT)?), u16::from_be_bytes(short(event::PEER_PORT)?)),
                addresses: (address(event::OWN_ADDRESS)?, address(event::PEER_ADDRESS)?),
                descriptor: word(bytes, event::DESCRIPTOR)?,
            }),
            event::JOINS => ReaderEventKind::Joins(JoiningSocket {
                cookie: long(event::COOKIE)?,
                peer: long(event::PEER_COOKIE)?,
                descriptor: word(bytes, event::DESCRIPTOR)?,
            }),
            _ => return None,
        };
        let process = (word(bytes, event::KEY)?, long(event::KEY + 4)?);
        Some(Self { kind, process, name: text(bytes.get(event::NAME as usize..event::COOKIE as usize)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let reader = Reader {
            process: 7,
            start: 1 << 40,
            state: ReaderState::Splicer,
            proven: u32::MAX,
            seen: 3,
            most: 4096,
            name: "socket-proxyd".into(),
        };
        let (key, record) = reader.to_bytes();
        assert_eq!(Reader::from_bytes(&key, &record), Some(reader));
        assert_eq!(Reader::from_bytes(&key, &record[1..]), None);
    }

    #[test]
    fn an_event_is_read_as_the_programs_write_it() {
        let mut bytes = [0; EVENT_SIZE as usize];
        bytes[0] = 3;
        bytes[4] = 9;
        bytes[16..21].copy_from_slice(b"a\0b\0c");
        bytes[32] = 5;
        bytes[40] = 2;
        bytes[42] = 80;
        bytes[45] = 81;
        bytes[48] = 127;
        bytes[80] = 6;
        let event = ReaderEvent::from_bytes(&bytes).unwrap();
        assert_eq!((event.process, event.name.as_str()), ((9, 0), "a"));
        let ReaderEventKind::Loses(socket) = event.kind else { panic!("{event:?}") };
        assert_eq!((socket.cookie, socket.family, socket.ports), (5, 2, (80, 81)));
        assert_eq!((socket.addresses.0[0], socket.descriptor), (127, 6));
        bytes[0] = 4;
        let joins = JoiningSocket { cookie: 5, peer: 127, descriptor: 6 };
        assert_eq!(ReaderEvent::from_bytes(&bytes).unwrap().kind, ReaderEventKind::Joins(joins));
        bytes[0] = 5;
        assert_eq!(ReaderEvent::from_bytes(&bytes), None);
        assert_eq!(ReaderEvent::from_bytes(&[]), None);
    }
}
