//! The maps, as data.

use crate::asm::MapRef;
use crate::dataplane::options::{Options, Pairing};
use crate::dataplane::state::listener::{Adopts, Listener};
use crate::dataplane::state::{Config, Counter, change, keys, reader, socket};
use crate::uapi::MapType;

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapRole {
    /// The sockets whose messages the sk_msg program sees.
    Sockets,
    /// One socket's own state.
    Storage,
    /// Active ends that wait to be claimed.
    Rendezvous,
    /// What passive ends have answered, until their active ends have read it.
    Pairs,
    /// The soft switch and the bounds; see [`Config`].
    Config,
    /// What happened, per CPU; see [`Counter`].
    Counters,
    /// One place for the sk_msg program, which the entry tail-calls.
    Programs,
    /// What has happened to connections, for `sidestep watch`; see [`super::Change`].
    Changes,
    /// Until when changes are to be reported; see [`super::Change`].
    Wanted,
    /// The processes that read, each with what it is trusted with; see [`super::Reader`].
    Readers,
    /// Sockets that have been spliced from, by cookie.
    Spliced,
    /// How many sockets and processes have spliced, by which the programs know when to look.
    Splices,
    /// Events about readers; see [`super::ReaderEvent`].
    Events,
    /// What is known of the last connections of listeners.
    Listeners,
    /// Until when an agent adopts connections that were left alone.
    Adopts,
}

impl MapRole {
    /// The roles that every data plane has, in the order of their [`MapRef`] numbers.
    pub const ALL: [Self; 9] = [
        Self::Sockets,
        Self::Storage,
        Self::Rendezvous,
        Self::Pairs,
        Self::Config,
        Self::Counters,
        Self::Programs,
        Self::Changes,
        Self::Wanted,
    ];

    /// Those of data planes that watch readers, which come behind the others.
    pub const WATCHING: [Self; 6] =
        [Self::Readers, Self::Spliced, Self::Splices, Self::Events, Self::Listeners, Self::Adopts];

    /// How the programs name this map.
    pub const fn map_ref(self) -> MapRef {
        MapRef(self as u32)
    }

    /// Name in the kernel, at most 15 bytes (`BPF_OBJ_NAME_LEN`), and under the pin directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sidestep_socks",
            Self::Storage => "sidestep_store",
            Self::Rendezvous => "sidestep_rdv",
            Self::Pairs => "sidestep_pairs",
            Self::Config => "sidestep_config",
            Self::Counters => "sidestep_count",
            Self::Programs => "sidestep_progs",
            Self::Changes => "sidestep_change",
            Self::Wanted => "sidestep_wanted",
            Self::Readers => "sidestep_reader",
            Self::Spliced => "sidestep_splcd",
            Self::Splices => "sidestep_splice",
            Self::Events => "sidestep_events",
            Self::Listeners => "sidestep_listen",
            Self::Adopts => "sidestep_adopts",
        }
    }
}

/// Map types the data plane needs (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapKind {
    /// `BPF_MAP_TYPE_SOCKHASH`, Linux 4.18.
    SockHash,
    /// `BPF_MAP_TYPE_SK_STORAGE`, Linux 5.2; needs BTF for its key and value.
    SkStorage,
    /// `BPF_MAP_TYPE_LRU_HASH`, Linux 4.10.
    LruHash,
    /// `BPF_MAP_TYPE_HASH`, Linux 3.19.
    Hash,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`, Linux 4.6.
    PerCpuArray,
    /// `BPF_MAP_TYPE_PROG_ARRAY`, Linux 4.2.
    ProgArray,
    /// `BPF_MAP_TYPE_RINGBUF`, Linux 5.8.
    RingBuf,
}

impl MapKind {
    /// The kernel's number of the type.
    pub const fn map_type(self) -> MapType {
        match self {
            Self::SockHash => MapType::SOCKHASH,
            Self::SkStorage => MapType::SK_STORAGE,
            Self::LruHash => MapType::LRU_HASH,
            Self::Hash => MapType::HASH,
            Self::Array => MapType::ARRAY,
            Self::PerCpuArray => MapType::PERCPU_ARRAY,
            Self::ProgArray => MapType::PROG_ARRAY,
            Self::RingBuf => MapType::RINGBUF,
        }
    }
}

/// One map to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapDef {
    /// What it is for.
    pub role: MapRole,
    /// Its type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; 0 where the type has no such bound.
    pub max_entries: u32,
    /// `BPF_F_*` flags of `BPF_MAP_CREATE`.
    pub flags: u32,
}

/// `BPF_F_NO_PREALLOC`, which SK_STORAGE requires (`bpf_local_storage_map_alloc_check`), and with which a hash takes memory
/// for what is in it.
const F_NO_PREALLOC: u32 = 1;

/// Sockets that can be accelerated at once, unless [`DataPlane::sized_for`](crate::dataplane::DataPlane::sized_for) is asked;
/// more stay plain TCP and are counted. An empty bucket costs 16 bytes
/// (`struct bpf_shtab_bucket`), so this is 1 MiB idle.
const MAX_SOCKETS: u32 = 65_536;

/// Connections between the SYN and the last ACK of their handshake, and those that never got further; without
/// announcements, also those to other nodes and without traffic yet. An LRU: the oldest makes room, and its connection
/// stays plain TCP.
const MAX_WAITING: u32 = 4_000;
/// The same for four-tuple pairing, whose records and keys are nearly twice as large: its idle maps stay below 2 MB.
const MAX_WAITING_BY_ADDRESS: u32 = 2_048;

/// Connections whose active end has not sent since the handshake. Not an LRU: what is in it stays until its active end has
/// read it or its passive end is closed. As many as the sockhash has room for, of which each takes two places; an empty
/// bucket costs 16 bytes (`struct bucket`, kernel/bpf/hashtab.c).
const MAX_PAIRS: u32 = MAX_SOCKETS / 2;

/// Processes of which something is known. An LRU: one that is pushed out starts again.
const MAX_READERS: u32 = 1_024;
/// Spliced sockets that are remembered until their pair has left, which takes an acknowledgement. An LRU.
const MAX_SPLICED: u32 = 4_096;
/// Listeners with short connections. An LRU: the connections of one that is pushed out are paired again.
const MAX_LISTENERS: u32 = 512;
/// Bytes for events, a page: 46 of them, read within microseconds. What finds no room is found by a look at the readers.
const EVENTS_SIZE: u32 = 4_096;

/// Bytes for changes of connections: 136 of them. A process that watches reads them within milliseconds, and what finds no
/// room is counted; the idle maps stay below 2 MiB.
const CHANGES_SIZE: u32 = 16_384;

/// The maps in the order of [`MapRole::ALL`] and [`MapRole::WATCHING`].
pub(in crate::dataplane) fn all(options: &Options) -> Vec<MapDef> {
    let pairing = options.pairing;
    let watching = if options.watch().is_some() { &MapRole::WATCHING[..] } else { &[] };
    MapRole::ALL
        .iter()
        .chain(watching)
        .map(|&role| {
            let (kind, key_size, value_size, max_entries, flags) = match role {
                // 8-byte values let user space read a member's cookie (`sock_hash_lookup_sys`).
                MapRole::Sockets => (MapKind::SockHash, pairing.socket_key_size(), 8, MAX_SOCKETS, 0),
                MapRole::Storage => (MapKind::SkStorage, 4, socket::size(options), 0, F_NO_PREALLOC),
                MapRole::Rendezvous => {
                    let most = match pairing {
                        Pairing::Sequence => MAX_WAITING,
                        Pairing::FourTuple => MAX_WAITING_BY_ADDRESS,
                    };
                    (MapKind::LruHash, options.rendezvous_key_size(), pairing.record_size(), most, 0)
                }
                MapRole::Pairs => (MapKind::Hash, keys::PAIR_KEY_SIZE, pairing.answer_size(), MAX_PAIRS, F_NO_PREALLOC),
                MapRole::Config => (MapKind::Array, 4, Config::SIZE as u32, 1, 0),
                MapRole::Counters => (MapKind::PerCpuArray, 4, Counter::VALUE_SIZE as u32, 1, 0),
                MapRole::Programs => (MapKind::ProgArray, 4, 4, 1, 0),
                MapRole::Changes => (MapKind::RingBuf, 0, 0, CHANGES_SIZE, 0),
                MapRole::Wanted => (MapKind::Array, 4, change::Wanted::SIZE as u32, 1, 0),
                MapRole::Readers => {
                    (MapKind::LruHash, reader::Key::SIZE as u32, reader::Record::SIZE as u32, MAX_READERS, 0)
                }
                MapRole::Spliced => (MapKind::LruHash, 8, 4, MAX_SPLICED, 0),
                MapRole::Splices => (MapKind::Array, 4, reader::Splices::SIZE as u32, 1, 0),
                MapRole::Events => (MapKind::RingBuf, 0, 0, EVENTS_SIZE, 0),
                MapRole::Listeners => (MapKind::LruHash, 8, Listener::SIZE as u32, MAX_LISTENERS, 0),
                MapRole::Adopts => (MapKind::Array, 4, Adopts::SIZE as u32, 1, 0),
            };
            MapDef { role, kind, key_size, value_size, max_entries, flags }
        })
        .collect()
}
