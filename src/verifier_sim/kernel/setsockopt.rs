//! setsockopt(2) by a process that has a descriptor of the socket: the program of its cgroup runs first.

use super::environment::Running;
use super::socket::{Cgroup, SocketId};
use super::{Failure, World};
use crate::uapi::ctx::sockopt;
use crate::verifier_sim::interp::{self, Limits};

/// Bytes of the option's value, which no program looks at.
const VALUE_SIZE: i32 = 4;

impl World {
    /// A process calls setsockopt(2) on a socket that no thread holds, with a level that no protocol knows
    /// (`__cgroup_bpf_run_filter_setsockopt`, kernel/bpf/cgroup.c). The program runs under the socket's lock.
    ///
    /// # Errors
    ///
    /// As all that run programs: a [`Failure`] when a program misbehaves.
    pub fn call_setsockopt(&mut self, id: SocketId, level: i32, name: i32) -> Result<(), Failure> {
        let Some(socket) = self.socket(id).filter(|socket| !socket.is_closed() && socket.cgroup() != Cgroup::Outside)
        else {
            return Ok(());
        };
        let address = socket.address();
        let Some(program) = self.setsockopt.clone() else { return Ok(()) };
        self.publish_all();
        self.now += 1000;
        let region = self.contexts.sockopt;
        let context = self.machine.memory.bytes_mut(region);
        context.fill(0);
        let mut put = |offset: i16, value: &[u8]| context[offset as usize..][..value.len()].copy_from_slice(value);
        put(sockopt::SK, &address.to_ne_bytes());
        for (offset, number) in [(sockopt::LEVEL, level), (sockopt::OPTNAME, name), (sockopt::OPTLEN, VALUE_SIZE)] {
            put(offset, &number.to_ne_bytes());
        }
        let mut running = Running::new(&mut self.sockets, id, self.now);
        running.refuses = self.refuses;
        interp::run(&program, &mut self.machine, &mut running, &[region.address()], Limits::default())
            .map_err(|trap| Failure::Trap("adopt", trap))?;
        Ok(())
    }
}
