//! How connections come to be, and what attackers do to that.

use sidestep::verifier_sim::kernel::{Address, End, Forgery, Socket, SocketId};

use super::op::Connect;
use super::{Broken, FOREIGN, PAIRED, STORAGE_PEER, STORAGE_STATE, Simulation, is_member};

const LOOPBACK: u32 = 0x7f00_0001;

/// A network namespace, a local and a remote address.
pub(super) type Tuple = (u64, Address, Address);

impl Simulation {
    pub(super) fn connect(&mut self, how: Connect) -> Result<(), Broken> {
        let (near, far) = match (how.same_namespace, how.loopback) {
            (true, true) => (LOOPBACK, LOOPBACK),
            (true, false) => (0x0a00_0001, 0x0a00_0001),
            (false, _) => (0x0a00_0001, 0x0a00_0002),
        };
        let client = Address { ip: near, port: 40000 + u16::from(how.client_port) };
        let service = match how.service {
            0 => Address { ip: far, port: 80 },
            1 => Address { ip: far, port: 81 },
            _ => Address { ip: far + 0x10, port: 80 },
        };
        let listener = if how.redirect { Address { ip: LOOPBACK, port: 15001 } } else { service };
        let group = if how.second_group { 100 } else { 0 };
        let (client_netns, server_netns) = (group + 11, group + if how.same_namespace { 11 } else { 22 });
        // A namespace has a 4-tuple once, and it is free again only when its socket is gone.
        let tuples = [(client_netns, client, service), (server_netns, listener, client)];
        let mut sockets = self.world.socket_ids().into_iter().filter_map(|id| self.world.socket(id));
        let taken = sockets.any(|socket| tuples.contains(&socket.addresses()));
        if taken || self.lingers(&tuples) {
            return Ok(());
        }
        // What this address has sent before arrives before what it sends now.
        for id in self.world.socket_ids() {
            let far = self.world.socket(id).map(Socket::addresses);
            if far.is_some_and(|(netns, _, remote)| netns == server_netns && remote == client) {
                self.finish_handshake(id)?;
            }
        }
        let cb_flags = if how.foreign_callbacks { FOREIGN } else { 0 };
        let end = |(netns, local, remote): Tuple, in_cgroup, isn, nonblocking, unmarked| End {
            netns,
            in_cgroup,
            local,
            remote,
            cb_flags,
            isn,
            nonblocking,
            unmarked,
        };
        let [near, far] = tuples;
        let client_end = end(near, how.client_in_cgroup, how.isn.0, how.client_nonblocking, how.unmarked.0);
        let server_end = end(far, how.server_in_cgroup, how.isn.1, how.server_nonblocking, how.unmarked.1);
        let shift = if how.rewritten { 0x1234_5678 } else { 0 };
        if how.foreseen.0 {
            let isn = client_end.isn.wrapping_add(shift);
            let forged = self.attacker(server_end);
            self.world.forge(forged, isn, Forgery::Announced)?;
        }
        let (client, server) = self.world.syn(client_end, server_end, shift)?;
        if how.foreseen.1 {
            let forged = End { isn: client_end.isn.wrapping_add(shift), ..self.attacker(client_end) };
            let how = if how.isn.0 & 1 == 0 { Forgery::Repaired } else { Forgery::Connected(how.isn.1) };
            let forged = self.world.forge(forged, server_end.isn, how)?;
            self.check_pairing(forged)?;
        }
        self.world.syn_ack(client)?;
        self.addresses.extend([(near, server), (far, client)]);
        self.expected.insert(client, (server, 0));
        self.expected.insert(server, (client, 0));
        self.servers.insert(server);
        if how.foreign_callbacks {
            self.foreign.extend([client, server]);
        }
        if self.form.is_gated() && (!how.server_in_cgroup || how.unmarked.0 || how.unmarked.1) {
            self.unclaimed.insert(client);
        }
        let socket = self.world.socket(client).unwrap();
        if socket.is_member() && !self.enabled {
            return Err(Broken(format!("socket {client} enters the sockhash while the switch is off")));
        }
        if socket.is_member() && !how.client_nonblocking && self.form.spares_blocking() {
            return Err(Broken(format!("socket {client} enters the sockhash though it blocks")));
        }
        Ok(())
    }

    /// The end of an attacker who knows everything about the end of another. Each has a namespace of its own, since a
    /// namespace has no two sockets with the same addresses.
    fn attacker(&mut self, end: End) -> End {
        self.attackers += 1;
        End { netns: 1000 + self.attackers, in_cgroup: true, cb_flags: 0, nonblocking: true, unmarked: false, ..end }
    }

    /// Whether TCP still keeps one of these addresses for a connection whose other end is open (FIN_WAIT_2, TIME_WAIT). That
    /// ends after a minute, and the programs do not rely on it, except those of the sticky tier with four-tuple pairing.
    fn lingers(&self, tuples: &[Tuple]) -> bool {
        let is_open = |id: &SocketId| self.world.socket(*id).is_some_and(|socket| !socket.is_closed());
        !self.form.is_gated() && self.addresses.iter().any(|(tuple, other)| tuples.contains(tuple) && is_open(other))
    }

    pub(super) fn forge(&mut self, of: u8, how: u8, mark: u32) -> Result<(), Broken> {
        let Some(socket) = self.pick(of).and_then(|id| self.world.socket(id)) else { return Ok(()) };
        let (_, local, remote) = socket.addresses();
        let (next, expected) = socket.numbers();
        let like = End {
            netns: 0,
            in_cgroup: true,
            local: remote,
            remote: local,
            cb_flags: 0,
            isn: expected.wrapping_sub(1),
            nonblocking: true,
            unmarked: false,
        };
        let end = self.attacker(like);
        let how = match how % 5 {
            0 => Forgery::Repaired,
            1 => Forgery::Connected(mark),
            2 => Forgery::Crossed(mark),
            3 => Forgery::Accepted(mark),
            _ => Forgery::Announced,
        };
        let forged = self.world.forge(end, next.wrapping_sub(1), how)?;
        self.check_pairing(forged)
    }

    /// The last ACK of the handshake arrives at `server`.
    pub(super) fn finish_handshake(&mut self, server: SocketId) -> Result<(), Broken> {
        let before = is_member(&self.world, server);
        self.world.finish_handshake(server)?;
        if !self.enabled && !before && is_member(&self.world, server) {
            return Err(Broken(format!("socket {server} enters the sockhash while the switch is off")));
        }
        self.check_pairing(server)
    }

    /// Gives a record of the rendezvous map, or an answer of the pairs map, another's words, but for the first in the order
    /// of reading: what a program sees of an element that is given to another connection meanwhile. The cookie is always
    /// kept: each program looks at it before.
    pub(super) fn tear(&mut self, from: u8, to: u8, kept: u8) {
        let machine = &mut self.world.machine;
        let map = if kept & 1 == 0 { self.rendezvous } else { self.pairs };
        let keys: Vec<Vec<u8>> = machine.map(map).unwrap().keys().map(<[u8]>::to_vec).collect();
        if keys.len() < 2 {
            return;
        }
        self.disturbed = true;
        self.torn = true;
        let source = machine.value(map, &keys[usize::from(from) % keys.len()]).unwrap().to_vec();
        let target = machine.value(map, &keys[usize::from(to) % keys.len()]).unwrap();
        // The layout is drawn in src/dataplane/state/record.rs. The check is read last.
        let order = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 3];
        let order: Vec<usize> = order.into_iter().filter(|word| word * 8 < source.len()).collect();
        for &word in order.iter().skip(usize::from(kept / 2) % order.len()) {
            let bytes = word * 8..word * 8 + 8;
            target[bytes.clone()].copy_from_slice(&source[bytes]);
        }
    }

    /// A socket that takes another for its peer is right.
    pub(super) fn check_pairing(&self, id: SocketId) -> Result<(), Broken> {
        let (Some(bytes), Some(socket)) = (self.state(id), self.world.socket(id)) else { return Ok(()) };
        let paired = bytes[STORAGE_STATE] == PAIRED;
        let cookie = u64::from_le_bytes(bytes[STORAGE_PEER..STORAGE_PEER + 8].try_into().unwrap());
        if paired && cookie != socket.peer() {
            return Err(Broken(format!("socket {id} takes {cookie} for its peer, which is {}", socket.peer())));
        }
        Ok(())
    }
}
