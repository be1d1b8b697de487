//! What is known of the programs that read: a record for each process, and events about them.
use crate::asm::Field;
use crate::layout;

layout! {
    /// The key of a process: its number may come again, the two together do not.
    pub(in crate::dataplane) struct Key: 16 {
        /// Its number in the initial namespace.
        PROCESS: u32 = 0;
        /// 0.
        ZERO: u32 = 4;
        /// When it began, in nanoseconds since boot.
        START: u64 = 8;
    }
}

layout! {
    /// What is known of it.
    pub(in crate::dataplane) struct Record: 32 {
        /// Where it stands: [`NEW`], 1 when the agent has admitted it, or [`SPLICER`].
        STATE: u32 = 0;
        /// How many bytes in a row it is trusted with.
        PROVEN: u32 = 4;
        /// Receives of more than that.
        SEEN: u32 = 8;
        /// The most bytes in a row among them.
        MOST: u32 = 12;
        /// The name of the thread that was seen first.
        NAME: [u8; 16] = 16;
    }
}

layout! {
    /// An event about a process, and about a socket for [`event::LOSES`] and [`event::JOINS`].
    pub(in crate::dataplane) struct Event: 88 {
        /// One of [`event`].
        KIND: u32 = 0;
        /// The process's number.
        PROCESS: u32 = 4;
        /// When it began.
        START: u64 = 8;
        /// The name of the thread.
        NAME: [u8; 16] = 16;
        /// The socket's number.
        COOKIE: u64 = 32;
        /// `AF_INET` or `AF_INET6`.
        FAMILY: u16 = 40;
        /// Its own port.
        OWN_PORT: u16 = 42;
        /// Its peer's port, in network byte order.
        PEER_PORT: u16 = 44;
        /// 0.
        ZERO: u16 = 46;
        /// Its own address, as in struct in_addr or in6_addr.
        OWN_ADDRESS: [u32; 4] = 48;
        /// Its peer's.
        PEER_ADDRESS: [u32; 4] = 64;
        /// The process's descriptor of it, in the lower half.
        DESCRIPTOR: u64 = 80;
    }
}

/// The words of an object from a field on.
fn words<S, V>(from: Field<S, V>, size: usize) -> impl Iterator<Item = Field<S, u64>> {
    (from.offset()..size as i32).step_by(8).map(Field::new)
}

impl Record {
    /// All of it, in words.
    pub(in crate::dataplane) fn all() -> impl Iterator<Item = Field<Self, u64>> {
        words(Self::STATE, Self::SIZE)
    }
}

impl Event {
    /// What is about a socket, in words.
    pub(in crate::dataplane) fn of_socket() -> impl Iterator<Item = Field<Self, u64>> {
        words(Self::COOKIE, Self::SIZE)
    }

    /// Of [`event::JOINS`]: the cookie of the peer, where other events have the address.
    pub(in crate::dataplane) const PEER_COOKIE: Field<Self, u64> = Self::OWN_ADDRESS.cast();
}

/// [`Record::STATE`]: the agent has not said yet whether its program is known to splice.
pub(in crate::dataplane) const NEW: i32 = 0;
/// [`Record::STATE`]: it has been seen to splice, or its program has in another life.
pub(in crate::dataplane) const SPLICER: i32 = 2;

/// [`Event::KIND`].
pub(in crate::dataplane) mod event {
    /// A process reads for the first time.
    pub(in crate::dataplane) const APPEARED: i32 = 1;
    /// A process has spliced for the first time.
    pub(in crate::dataplane) const SPLICES: i32 = 2;
    /// A process splices from a socket with unread redirected bytes.
    pub(in crate::dataplane) const LOSES: i32 = 3;
    /// A process is trusted with what a socket outside the sockhash receives. Instead of the addresses there is the cookie
    /// of the peer.
    pub(in crate::dataplane) const JOINS: i32 = 4;
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

/// The bytes from a field on.
fn from<S, V>(bytes: &[u8], field: Field<S, V>) -> Option<&[u8]> {
    bytes.get(usize::try_from(field.offset()).ok()?..)
}

fn short<S>(bytes: &[u8], field: Field<S, u16>) -> Option<[u8; 2]> {
    from(bytes, field)?.first_chunk().copied()
}

fn word<S>(bytes: &[u8], field: Field<S, u32>) -> Option<u32> {
    Some(u32::from_ne_bytes(*from(bytes, field)?.first_chunk()?))
}

fn long<S>(bytes: &[u8], field: Field<S, u64>) -> Option<u64> {
    Some(u64::from_ne_bytes(*from(bytes, field)?.first_chunk()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Reader {
    /// From the map's bytes; `None` when they have another size.
    pub fn from_bytes(key: &[u8], record: &[u8]) -> Option<Self> {
        let key: &[u8; Key::SIZE] = key.try_into().ok()?;
        let record: &[u8; Record::SIZE] = record.try_into().ok()?;
        Some(Self {
            process: word(key, Key::PROCESS)?,
            start: long(key, Key::START)?,
            state: match word(record, Record::STATE)? {
                0 => ReaderState::New,
                1 => ReaderState::Admitted,
                _ => ReaderState::Splicer,
            },
            proven: word(record, Record::PROVEN)?,
            seen: word(record, Record::SEEN)?,
            most: word(record, Record::MOST)?,
            name: text(from(record, Record::NAME)?),
        })
    }

    /// The map's key for a process that began then.
    pub fn key((process, start): (u32, u64)) -> [u8; Key::SIZE] {
        let mut key = [0; Key::SIZE];
        key[..4].copy_from_slice(&process.to_ne_bytes());
        key[8..].copy_from_slice(&start.to_ne_bytes());
        key
    }

    /// The map's key and value.
    pub fn to_bytes(&self) -> ([u8; Key::SIZE], [u8; Record::SIZE]) {
        let key = Self::key((self.process, self.start));
        let mut record = [0; Record::SIZE];
        let words = [self.state as u32, self.proven, self.seen, self.most];
        let (places, name) = record.split_at_mut(Record::NAME.offset() as usize);
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
        let bytes: &[u8; Event::SIZE] = bytes.try_into().ok()?;
        let address = |field: Field<Event, [u32; 4]>| from(bytes, field)?.first_chunk().copied();
        let kind = match word(bytes, Event::KIND)?.cast_signed() {
            event::APPEARED => ReaderEventKind::Appeared,
            event::SPLICES => ReaderEventKind::Splices,
            event::LOSES => ReaderEventKind::Loses(LosingSocket {
                cookie: long(bytes, Event::COOKIE)?,
                family: u16::from_ne_bytes(short(bytes, Event::FAMILY)?),
                ports: (
                    u16::from_ne_bytes(short(bytes, Event::OWN_PORT)?),
                    u16::from_be_bytes(short(bytes, Event::PEER_PORT)?),
                ),
                addresses: (address(Event::OWN_ADDRESS)?, address(Event::PEER_ADDRESS)?),
                descriptor: long(bytes, Event::DESCRIPTOR)? as u32,
            }),
            event::JOINS => ReaderEventKind::Joins(JoiningSocket {
                cookie: long(bytes, Event::COOKIE)?,
                peer: long(bytes, Event::PEER_COOKIE)?,
                descriptor: long(bytes, Event::DESCRIPTOR)? as u32,
            }),
            _ => return None,
        };
        let process = (word(bytes, Event::PROCESS)?, long(bytes, Event::START)?);
        Some(Self { kind, process, name: text(from(bytes, Event::NAME)?.get(..Event::NAME.bytes())?) })
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
        let mut bytes = [0; Event::SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &3_u32.to_ne_bytes());
        put(4, &9_u32.to_ne_bytes());
        put(16, b"a\0b\0c");
        put(32, &5_u64.to_ne_bytes());
        put(40, &2_u16.to_ne_bytes());
        put(42, &80_u16.to_ne_bytes());
        put(44, &81_u16.to_be_bytes());
        put(48, &[127]);
        put(80, &6_u64.to_ne_bytes());
        let event = ReaderEvent::from_bytes(&bytes).unwrap();
        assert_eq!((event.process, event.name.as_str()), ((9, 0), "a"));
        let ReaderEventKind::Loses(socket) = event.kind else { panic!("{event:?}") };
        assert_eq!((socket.cookie, socket.family, socket.ports), (5, 2, (80, 81)));
        assert_eq!((socket.addresses.0[0], socket.descriptor), (127, 6));
        bytes[..4].copy_from_slice(&4_u32.to_ne_bytes());
        bytes[48..56].copy_from_slice(&127_u64.to_ne_bytes());
        let joins = JoiningSocket { cookie: 5, peer: 127, descriptor: 6 };
        assert_eq!(ReaderEvent::from_bytes(&bytes).unwrap().kind, ReaderEventKind::Joins(joins));
        bytes[..4].copy_from_slice(&5_u32.to_ne_bytes());
        assert_eq!(ReaderEvent::from_bytes(&bytes), None);
        assert_eq!(ReaderEvent::from_bytes(&[]), None);
    }
}
