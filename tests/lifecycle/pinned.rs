//! What an attached data plane has pinned: where sockets stand.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use sidestep::dataplane::{MapRole, SocketState, Standing};
use sidestep::syscall::Map;

use crate::fixture::Fixture;

pub(crate) struct Pinned {
    sockets: Map,
    storage: Map,
}

impl Pinned {
    pub(crate) fn of(fixture: &Fixture) -> Self {
        let map = |role: MapRole| Map::from_pin(&fixture.instance().dir().join("g1").join(role.name())).unwrap();
        Self { sockets: map(MapRole::Sockets), storage: map(MapRole::Storage) }
    }

    fn state(&self, socket: &TcpStream) -> Option<SocketState> {
        let bytes = self.storage.lookup(&socket.as_raw_fd().to_ne_bytes()).unwrap();
        bytes.and_then(|bytes| SocketState::from_bytes(&bytes))
    }

    /// Whether a socket is one of a pair, and whether it is in the sockhash.
    pub(crate) fn stands(&self, socket: &TcpStream) -> (bool, bool) {
        let Some(state) = self.state(socket) else { return (false, false) };
        let is_member = self.sockets.lookup(&state.cookie.to_ne_bytes()).unwrap().is_some();
        (state.standing == Standing::Paired, is_member)
    }

    /// Takes a socket out of the sockhash, and leaves its state as it is.
    pub(crate) fn take_out(&self, socket: &TcpStream) {
        let state = self.state(socket).expect("it has a state");
        self.sockets.delete(&state.cookie.to_ne_bytes()).unwrap();
    }
}
