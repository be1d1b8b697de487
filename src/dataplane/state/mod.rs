//! What the programs keep: in maps, and for each socket.

pub(in crate::dataplane) mod adoption;
pub(in crate::dataplane) mod change;
pub(in crate::dataplane) mod config;
mod counters;
pub(in crate::dataplane) mod keys;
pub(in crate::dataplane) mod listener;
mod maps;
pub(in crate::dataplane) mod peer;
pub(in crate::dataplane) mod reader;
pub(in crate::dataplane) mod record;
pub(in crate::dataplane) mod socket;
pub(in crate::dataplane) mod traffic;

pub use adoption::{AdoptionAnswer, AdoptionRequest, AdoptionStep, Refusal};
pub use change::{Change, ChangeKind};
pub use config::Config;
pub use counters::Counter;
pub use listener::left_alone;
pub use maps::{MapDef, MapKind, MapRole};
pub use reader::{JoiningSocket, LosingSocket, Reader, ReaderEvent, ReaderEventKind, ReaderState};

pub use socket::{SocketState, Standing, sockhash_key};
pub use traffic::SocketTraffic;

pub(in crate::dataplane) use counters::Counters;
pub(in crate::dataplane) use maps::all as all_maps;
