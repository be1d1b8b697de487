//! Listeners whose connections are short: when they are left alone, said again and in another way than the programs.
//!
//! What a socket had done that is destroyed is not known, so the model knows bounds of what a listener has learnt.

use std::collections::{BTreeMap, BTreeSet};

use sidestep::dataplane::Counter;
use sidestep::verifier_sim::kernel::{Cgroup, Socket, SocketId};

use super::{Broken, PAIRED, STORAGE_STATE, Simulation};

/// So many short connections in a row, and one of so many that come then is tried (src/dataplane/state/listener.rs).
const SHORT_IN_A_ROW: u32 = 32;
const TRIED: u32 = 16;
/// Receives after which a connection may gain (src/dataplane/options/trust.rs).
const CONNECTION_RECEIVES: u32 = 16;
/// How many messages a socket has redirected (src/dataplane/state/socket.rs).
const STORAGE_REDIRECTED: usize = 192;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`, include/uapi/linux/bpf.h.
const STATE_FLAG: u32 = 1 << 2;
/// `SEND_SHUTDOWN`, include/net/sock.h.
const SEND_SHUTDOWN: u8 = 2;

/// Until when the agent adopts, by the simulated clock.
pub(super) const ADOPTS_UNTIL: u64 = 4_000_000;
/// By how much the clock goes on before a program runs (`World::clock`).
const STEP: u64 = 1_000;

/// What listeners are to have learnt.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// Ends that were paired by a handshake, on probation, and have neither closed nor received often enough.
    noted: BTreeMap<SocketId, Vec<u8>>,
    /// The fewest and the most short connections in a row.
    bounds: BTreeMap<Vec<u8>, (u32, u32)>,
    /// Servers whose connections are left alone.
    left_alone: BTreeSet<SocketId>,
}

/// What a socket had done before it ended.
#[derive(Debug)]
pub(super) struct BeforeEnd {
    receives: u32,
    redirected: Option<u64>,
    is_paired: bool,
    is_heard: bool,
}

/// A SYN that a listener is about to answer.
#[derive(Debug)]
pub(super) struct Syn {
    listener: Vec<u8>,
    /// Whether the connection is to be left alone; none where the model cannot know.
    is_left_alone: Option<bool>,
    /// Connections that had been left alone before.
    before: u64,
}

/// The key of a listener in this namespace.
fn key(netns: u64, port: u16) -> Vec<u8> {
    (netns << 16 | u64::from(port)).to_ne_bytes().to_vec()
}

impl Simulation {
    /// A server's listener is about to answer a SYN; `random` is the kernel's random number.
    pub(super) fn before_syn(&mut self, netns: u64, port: u16, cgroup: Cgroup, random: u32) -> Syn {
        self.world.set_random(random);
        let listener = key(netns, port);
        let may_be = self.listeners.is_some()
            && (self.is_attached && !self.is_orphaned && self.enabled)
            && cgroup != Cgroup::Outside
            && !random.is_multiple_of(TRIED);
        let adopts = self.world.clock() + STEP < ADOPTS_UNTIL;
        let (fewest, most) = self.short.bounds.get(&listener).copied().unwrap_or_default();
        let is_left_alone = match may_be && adopts {
            true if fewest >= SHORT_IN_A_ROW => Some(true),
            true if most >= SHORT_IN_A_ROW => None,
            _ => Some(false),
        };
        Syn { listener, is_left_alone, before: self.counter(Counter::LeftAlone) }
    }

    /// The listener has answered; whether the connection is left alone.
    pub(super) fn after_syn(&mut self, server: SocketId, syn: Syn) -> Result<bool, Broken> {
        let more = self.counter(Counter::LeftAlone) - syn.before;
        let is_left_alone = syn.is_left_alone.unwrap_or(more == 1);
        if more != u64::from(is_left_alone) {
            return Err(Broken(format!("{more} connections are left alone at a SYN, and {syn:?}")));
        }
        if is_left_alone {
            self.short.left_alone.insert(server);
        }
        if syn.is_left_alone.is_none() {
            // Now the model knows.
            let (fewest, most) = self.short.bounds.entry(syn.listener).or_default();
            if is_left_alone { *fewest = SHORT_IN_A_ROW } else { *most = SHORT_IN_A_ROW - 1 }
        }
        Ok(is_left_alone)
    }

    /// A handshake is over that may have paired the server.
    pub(super) fn note_server(&mut self, server: SocketId, was_paired: bool) -> Result<(), Broken> {
        let is_paired = self.state(server).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
        if was_paired || !is_paired || self.listeners.is_none() {
            return Ok(());
        }
        if self.short.left_alone.contains(&server) {
            return Err(Broken(format!("socket {server} is paired, and its listener's connections are short")));
        }
        let Some(socket) = self.world.socket(server) else { return Ok(()) };
        let (netns, local, _) = socket.addresses();
        let listener = key(netns, local.port);
        if socket.cgroup() == Cgroup::Trusted {
            self.short.bounds.insert(listener, (0, 0));
        } else {
            self.short.noted.insert(server, listener);
        }
        Ok(())
    }

    /// A socket has received so often.
    pub(super) fn note_receives(&mut self, id: SocketId, receives: u32) {
        if receives >= CONNECTION_RECEIVES
            && let Some(listener) = self.short.noted.remove(&id)
        {
            self.short.bounds.insert(listener, (0, 0));
        }
    }

    /// What a socket has done so far, which may end now.
    pub(super) fn before_end(&self, id: SocketId) -> BeforeEnd {
        BeforeEnd {
            receives: self.receives(id),
            redirected: self.word(id, STORAGE_REDIRECTED),
            is_paired: self.state(id).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED),
            // The kernel may have refused the callback, or another program has taken it.
            is_heard: self.world.socket(id).is_some_and(|socket| socket.cb_flags() & STATE_FLAG != 0),
        }
    }

    /// If the socket has sent its FIN or is gone, its listener learns of it.
    pub(super) fn note_end(&mut self, id: SocketId, before: &BeforeEnd) {
        let goes_on = |socket: &Socket| !socket.is_closed() && socket.shutdown_bits() & SEND_SHUTDOWN == 0;
        if self.world.socket(id).is_some_and(goes_on) {
            return;
        }
        let Some(listener) = self.short.noted.remove(&id) else { return };
        let (fewest, most) = self.short.bounds.entry(listener).or_default();
        match before.redirected {
            Some(1..) if before.is_heard => (*fewest, *most) = (0, 0),
            Some(1..) => *fewest = 0,
            Some(0) if before.receives > 0 && before.is_paired => {
                (*fewest, *most) = (*fewest + u32::from(before.is_heard), *most + 1);
            }
            Some(0) => {}
            None => (*fewest, *most) = (0, *most + 1),
        }
    }

    /// Every listener has learnt what it is to have learnt.
    pub(super) fn check_listeners(&mut self) -> Result<(), Broken> {
        let Some(map) = self.listeners else { return Ok(()) };
        // What one had done that was destroyed is not known any more.
        let unheard = BeforeEnd { receives: 1, redirected: None, is_paired: true, is_heard: false };
        for id in self.short.noted.keys().copied().collect::<Vec<_>>() {
            if self.world.socket(id).is_none_or(Socket::is_closed) {
                self.note_end(id, &unheard);
            }
        }
        let keys: Vec<Vec<u8>> = self.world.machine.map(map).unwrap().keys().map(<[u8]>::to_vec).collect();
        for key in keys.into_iter().chain(self.short.bounds.keys().cloned().collect::<Vec<_>>()) {
            let value = self.world.machine.value(map, &key);
            let short = value.map_or(0, |bytes| u32::from_ne_bytes(*bytes.first_chunk().unwrap()));
            let bounds = self.short.bounds.get(&key).copied();
            if bounds.is_none_or(|(fewest, most)| short < fewest || short > most) {
                return Err(Broken(format!("listener {key:?} has had {short} short connections, not {bounds:?}")));
            }
        }
        Ok(())
    }
}
