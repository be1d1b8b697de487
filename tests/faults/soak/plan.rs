//! What one connection does, drawn from its number.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::link::pattern;

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request, its echo, close.
    Short,
    /// Several requests and echoes, close.
    KeepAlive,
    /// Requests and echoes, then the client shuts its half down and reads to the end.
    HalfClose,
    /// Many bytes up; the server compares them.
    Upload,
    /// Many bytes down, then the server's half is shut down.
    Download,
    /// The client resets in the middle of an echo.
    ClientResets,
    /// The server resets in the middle of what it sends.
    ServerResets,
    /// Connected and closed without a byte.
    Silent,
    /// There is no listener.
    Refused,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Short,
        Self::KeepAlive,
        Self::HalfClose,
        Self::Upload,
        Self::Download,
        Self::ClientResets,
        Self::ServerResets,
        Self::Silent,
        Self::Refused,
    ];
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To a non-blocking server in the accelerated cgroup.
    Inside,
    /// To a non-blocking server outside.
    Outside,
    /// To a server in the cgroup that blocks.
    Blocking,
    /// To a port without a listener.
    Closed,
}

/// Bytes of [`Header`].
pub(super) const HEADER: usize = 16;

/// What the client sends to the server first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) seed: u64,
    pub(super) length: usize,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[12] = self.kind as u8;
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        assert!(bytes[13..HEADER] == [0; 3], "the header is not what was sent: {bytes:?}");
        Self {
            seed: u64::from_le_bytes(bytes[..8].try_into().unwrap()),
            length: u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize,
            kind: Kind::ALL[usize::from(bytes[12])],
        }
    }
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) send: Vec<u8>,
    pub(super) expect: Vec<u8>,
}

/// How a connection ends, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It closes.
    Close,
    /// It shuts down its half and reads the end.
    HalfClose,
    /// It reads the end, then closes.
    ServerEnds,
    /// It resets, whatever is unread.
    Reset,
    /// The server resets: any part of what is expected, then the end or an error.
    ServerResets,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) ipv6: bool,
    /// Bytes of each write.
    pub(super) chunk: usize,
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
}

/// A sequence of random numbers (SplitMix64, as `pattern`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        let word = pattern(self.0, 8);
        self.0 = self.0.wrapping_add(0x5851_f42d_4c95_7f2d);
        (u64::from_le_bytes(word.try_into().unwrap()) % bound as u64) as usize
    }

    /// Mostly small, seldom large: 1 to 2,000 bytes, one in ten to 32,000, one in a hundred to `most`.
    fn length(&mut self, most: usize) -> usize {
        1 + match self.below(100) {
            0 => self.below(most),
            1..=10 => self.below(32_000),
            _ => self.below(2_000),
        }
    }
}

impl Plan {
    pub(super) fn new(number: u64) -> Self {
        let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let kind = match random.below(100) {
            0..=29 => Kind::Short,
            30..=49 => Kind::KeepAlive,
            50..=61 => Kind::HalfClose,
            62..=71 => Kind::Upload,
            72..=81 => Kind::Download,
            82..=86 => Kind::ClientResets,
            87..=91 => Kind::ServerResets,
            92..=95 => Kind::Silent,
            _ => Kind::Refused,
        };
        let place = match (kind, random.below(10)) {
            (Kind::Refused, _) => Place::Closed,
            (_, 0..=5) => Place::Inside,
            (_, 6..=7) => Place::Outside,
            _ => Place::Blocking,
        };
        // Echoes must fit the buffers of an end that writes all before it reads.
        let lengths: Vec<usize> = match kind {
            Kind::Refused | Kind::Silent => Vec::new(),
            Kind::KeepAlive => (0..2 + random.below(9)).map(|_| random.length(100_000)).collect(),
            Kind::Upload | Kind::Download => vec![random.length(600_000)],
            _ => vec![random.length(100_000)],
        };
        let total: usize = lengths.iter().sum();
        let chunk = [1, 100, 1_500, 16_384, usize::MAX][random.below(5)].max(total / 60).max(1);
        let header = Header { kind, seed: number, length: total }.to_bytes().to_vec();
        let mut steps = Vec::new();
        let mut at = header;
        for (index, &length) in lengths.iter().enumerate() {
            let bytes = pattern(number + index as u64, length);
            let mut send = std::mem::take(&mut at);
            let expect = match kind {
                Kind::Upload => {
                    send.extend_from_slice(&bytes);
                    vec![VERIFIED]
                }
                Kind::Download | Kind::ServerResets => bytes,
                Kind::ClientResets => {
                    send.extend_from_slice(&bytes);
                    bytes[..length / 2].to_vec()
                }
                _ => {
                    send.extend_from_slice(&bytes);
                    bytes
                }
            };
            steps.push(Step { send, expect });
        }
        let end = match kind {
            Kind::HalfClose => End::HalfClose,
            Kind::Download => End::ServerEnds,
            Kind::ClientResets => End::Reset,
            Kind::ServerResets => End::ServerResets,
            _ => End::Close,
        };
        Self { seed: number, kind, place, ipv6: random.below(3) == 0, chunk, steps, end }
    }
}

/// The server's answer to an upload that came whole.
pub(super) const VERIFIED: u8 = b'k';

/// How many connections of each kind were made, and bytes compared.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: [AtomicU64; Kind::ALL.len()],
    compared: AtomicU64,
}

impl Tally {
    /// A connection has ended as it should, after `compared` bytes.
    pub(super) fn add(&self, plan: &Plan, compared: usize) {
        self.kinds[plan.kind as usize].fetch_add(1, Ordering::Relaxed);
        self.compared.fetch_add(compared as u64, Ordering::Relaxed);
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.of(kind)).sum()
    }

    pub(super) fn describe(&self) -> String {
        let kinds: String = Kind::ALL.into_iter().map(|kind| format!("{kind:?} {}  ", self.of(kind))).collect();
        format!("{kinds}{} bytes compared by clients", self.compared.load(Ordering::Relaxed))
    }
}
