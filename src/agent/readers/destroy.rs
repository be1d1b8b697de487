//! Ending the connection of a socket that loses bytes.

use crate::agent::error::{Context, Result};
use crate::dataplane::LosingSocket;
use crate::syscall::netns::Netns;
use crate::syscall::{ForeignSocket, Map, TcpSocketId};

/// Destroys the connection of `socket`, which `process` has: by its descriptor, or in the network namespace of the process,
/// or in our own.
pub(super) fn destroy(socket: &LosingSocket, process: u32) -> Result<()> {
    let LosingSocket { cookie, family, ports, addresses, descriptor } = *socket;
    if let Ok(Some(socket)) = ForeignSocket::open(process, descriptor, cookie)
        && socket.disconnect().is_ok()
    {
        return Ok(());
    }
    let id = TcpSocketId { family: family as u8, ports, addresses, cookie };
    let there = Netns::of_process(process).and_then(|netns| netns.run(|| id.destroy()));
    if there.is_ok_and(|done| done.is_ok()) {
        return Ok(());
    }
    id.destroy().context("destroy a connection whose reader splices")
}

/// Whether a socket is in the sockhash: those of others are none of our business.
pub(super) fn is_member(sockets: &Map, cookie: u64) -> bool {
    // Members have their cookie as value (`sock_hash_lookup_sys`), and with sequence pairing also as key.
    let is =
        |key: &[u8]| sockets.lookup(key).is_ok_and(|value| value.is_some_and(|value| value == cookie.to_ne_bytes()));
    if sockets.key_size() == size_of::<u64>() {
        return is(&cookie.to_ne_bytes());
    }
    sockets.keys().any(|key| key.is_ok_and(|key| is(&key)))
}
