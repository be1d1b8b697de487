//! The size of a receive buffer is its application's, or the kernel's (src/dataplane/membership/window.rs).

use sidestep::verifier_sim::kernel::{Buffers, Socket, SocketId};

use super::{ARMED, Broken, STORAGE_BUFFER, STORAGE_SMALL_BUFFER, Simulation};

/// `SOCK_RCVBUF_LOCK` (include/net/sock.h).
const RCVBUF_LOCK: u8 = 2;

impl Simulation {
    /// Keepalive sends a probe, if our programs or the application want one every second.
    pub(super) fn probe(&mut self, id: SocketId) -> Result<(), Broken> {
        if self.world.socket(id).is_some_and(Socket::probes) {
            self.world.probe(id)?;
        }
        self.check_buffers()
    }

    /// How many receive buffers have a fixed size that no application has set.
    pub(crate) fn fixed_buffers(&self) -> usize {
        let is_fixed = |buffers: Buffers| buffers.locks & RCVBUF_LOCK != 0;
        let by_us = |id: &SocketId| {
            let by_application = self.buffers.get(id).copied().is_some_and(is_fixed);
            !by_application && self.world.socket(*id).is_some_and(|socket| is_fixed(socket.buffers()))
        };
        self.world.socket_ids().into_iter().filter(by_us).count()
    }

    /// How many receive buffers our programs have made small.
    pub(crate) fn small_buffers(&self) -> usize {
        self.world.socket_ids().into_iter().filter(|id| self.half(*id, STORAGE_BUFFER) != 0).count()
    }

    /// After each step: every receive buffer is as large as it was. Only where a packet's options have been refused may one be small
    /// until the next callback of its socket, which is armed meanwhile.
    pub(super) fn check_buffers(&self) -> Result<(), Broken> {
        for id in self.world.socket_ids() {
            let Some(socket) = self.world.socket(id).filter(|socket| !socket.is_closed()) else { continue };
            let waits = self.half(id, STORAGE_SMALL_BUFFER) != 0 && self.has_flag(id, ARMED);
            if !waits && !self.is_of_its_size(id, socket) {
                let now = socket.buffers();
                return Err(Broken(format!(
                    "the buffers of socket {id} are {now:?}, and were {:?}",
                    self.buffers.get(&id)
                )));
            }
        }
        Ok(())
    }

    fn is_of_its_size(&self, id: SocketId, socket: &Socket) -> bool {
        let was = self.buffers.get(&id).copied().unwrap_or_default();
        // setsockopt(2) takes half of the size.
        socket.buffers().receive | 1 == was.receive | 1
    }
}
