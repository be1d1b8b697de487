//! The size of a receive buffer is its application's, or the kernel's (src/dataplane/membership/window.rs).

use sidestep::verifier_sim::kernel::{Socket, SocketId};

use super::{ARMED, Broken, STORAGE_SMALL_BUFFER, Simulation};

/// The flag of a receive buffer whose size our programs have fixed (src/dataplane/state/socket.rs).
const BUFFER_OURS: u32 = 1 << 23;

impl Simulation {
    /// Keepalive sends a probe, if our programs or the application want one every second.
    pub(super) fn probe(&mut self, id: SocketId) -> Result<(), Broken> {
        if self.world.socket(id).is_some_and(Socket::probes) {
            self.world.probe(id)?;
        }
        self.check_buffers()
    }

    /// How many receive buffers have a size that our programs have fixed.
    pub(crate) fn fixed_buffers(&self) -> usize {
        self.world.socket_ids().into_iter().filter(|id| self.has_flag(*id, BUFFER_OURS)).count()
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
