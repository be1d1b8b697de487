//! Listeners whose connections are short: when they are left alone, said again and in another way than the programs.

use std::collections::{BTreeMap, BTreeSet};

use sidestep::verifier_sim::kernel::{Cgroup, Socket, SocketId};

use super::{Broken, PAIRED, STORAGE_STATE, Simulation};

/// So many short connections in a row, and which of those that come then are tried (src/dataplane/state/listener.rs).
const SHORT_IN_A_ROW: u32 = 32;
const TRIED: u32 = 16;
/// Receives after which a connection may gain (src/dataplane/options/trust.rs).
const CONNECTION_RECEIVES: u32 = 16;
/// How often data has been received, and how many messages a socket has redirected (src/dataplane/state/socket.rs).
const STORAGE_RECEIVES: usize = 112;
const STORAGE_REDIRECTED: usize = 192;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`, include/uapi/linux/bpf.h.
const STATE_FLAG: u32 = 1 << 2;
/// `SEND_SHUTDOWN`, include/net/sock.h.
const SEND_SHUTDOWN: u8 = 2;

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
    is_heard: bool,
}

/// The key of a listener in this namespace.
fn key(netns: u64, port: u16) -> Vec<u8> {
    (netns << 16 | u64::from(port)).to_ne_bytes().to_vec()
}

impl Simulation {
    /// The short connections in a row that a listener has had, and how many have come since, as the programs have noted it.
    fn learnt(&mut self, key: &[u8]) -> (u32, u32) {
        let value = self.listeners.and_then(|map| self.world.machine.value(map, key));
        let word =
            |at: usize| value.as_ref().map_or(0, |bytes| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap()));
        (word(0), word(4))
    }

    /// Whether a listener is to leave the next connection alone.
    pub(super) fn leaves_alone(&mut self, netns: u64, port: u16) -> bool {
        let (short, come) = self.learnt(&key(netns, port));
        self.is_attached && self.enabled && short >= SHORT_IN_A_ROW && !come.wrapping_add(1).is_multiple_of(TRIED)
    }

    /// The connection of this server is to be left alone.
    pub(super) fn note_left_alone(&mut self, server: SocketId) {
        self.short.left_alone.insert(server);
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
        if let Some(socket) = self.world.socket(server).filter(|socket| socket.cgroup() != Cgroup::Trusted) {
            let (netns, local, _) = socket.addresses();
            self.short.noted.insert(server, key(netns, local.port));
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
            receives: self.half(id, STORAGE_RECEIVES),
            redirected: self.word(id, STORAGE_REDIRECTED),
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
        match (before.receives, before.redirected) {
            (0, _) => {}
            (_, Some(0)) => (*fewest, *most) = (*fewest + u32::from(before.is_heard), *most + 1),
            (_, None) => (*fewest, *most) = (0, *most + 1),
            _ if before.is_heard => (*fewest, *most) = (0, 0),
            _ => *fewest = 0,
        }
    }

    /// Every listener has learnt what it is to have learnt.
    pub(super) fn check_listeners(&mut self) -> Result<(), Broken> {
        let Some(map) = self.listeners else { return Ok(()) };
        // What one had done that was destroyed is not known any more.
        let unheard = BeforeEnd { receives: 1, redirected: None, is_heard: false };
        for id in self.short.noted.keys().copied().collect::<Vec<_>>() {
            if self.world.socket(id).is_none_or(Socket::is_closed) {
                self.note_end(id, &unheard);
            }
        }
        let keys: Vec<Vec<u8>> = self.world.machine.map(map).unwrap().keys().map(<[u8]>::to_vec).collect();
        for key in keys.into_iter().chain(self.short.bounds.keys().cloned().collect::<Vec<_>>()) {
            let (short, _) = self.learnt(&key);
            let bounds = self.short.bounds.get(&key).copied();
            if bounds.is_none_or(|(fewest, most)| short < fewest || short > most) {
                return Err(Broken(format!("listener {key:?} has had {short} short connections, not {bounds:?}")));
            }
        }
        Ok(())
    }
}
