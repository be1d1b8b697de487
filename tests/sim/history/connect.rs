//! How connections come to be, and what attackers do to that.

use sidestep::verifier_sim::kernel::{Address, Cgroup, End, Forgery, Socket, SocketId};

use super::op::Connect;
use super::{Broken, FOREIGN, PAIRED, STORAGE_PEER, STORAGE_STATE, Simulation, WAITING, is_member};

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
        let end = |(netns, local, remote): Tuple, isn| End { cb_flags, ..End::new(netns, local, remote, isn) };
        let [near, far] = tuples;
        let (nonblocking, unmarked) = (how.client_nonblocking, how.unmarked.0);
        let client_end = End { cgroup: how.client_cgroup, nonblocking, unmarked, ..end(near, how.isn.0) };
        let (nonblocking, unmarked) = (how.server_nonblocking, how.unmarked.1);
        let server_end = End { cgroup: how.server_cgroup, nonblocking, unmarked, ..end(far, how.isn.1) };
        let shift = if how.rewritten { 0x1234_5678 } else { 0 };
        if how.foreseen.0 {
            let isn = client_end.isn.wrapping_add(shift);
            let forged = self.attacker(server_end);
            self.world.forge(forged, isn, Forgery::Announced)?;
        }
        let syn = self.before_syn(far.0, far.1.port, how.server_cgroup, how.random);
        let (client, server) = self.world.syn(client_end, server_end, shift)?;
        let left_alone = self.after_syn(server, syn)?;
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
        let Connect { client_cgroup, server_cgroup, client_port, random, .. } = how;
        if how == (Connect { client_cgroup, server_cgroup, client_port, random, ..Connect::plain() })
            && self.enabled
            && self.is_attached
            && !left_alone
        {
            self.plain.insert(server);
        }
        if how.foreign_callbacks {
            self.foreign.extend([client, server]);
        }
        if self.form.is_gated() && (how.server_cgroup == Cgroup::Outside || how.unmarked.0 || how.unmarked.1) {
            self.unclaimed.insert(client);
        }
        let socket = self.world.socket(client).unwrap();
        if socket.is_member() && !self.enabled {
            return Err(Broken(format!("socket {client} enters the sockhash while the switch is off")));
        }
        if self.is_attached {
            self.note_trusted(client, how.client_cgroup);
            self.note_trusted(server, how.server_cgroup);
        }
        let socket = self.world.socket(client).unwrap();
        if socket.is_member() && !how.client_nonblocking && self.form.spares_blocking() {
            return Err(Broken(format!("socket {client} enters the sockhash though it blocks")));
        }
        self.check_cgroup(client)
    }

    /// A socket is in the sockhash only when the program of its cgroup lets it.
    fn check_cgroup(&self, id: SocketId) -> Result<(), Broken> {
        let Some(socket) = self.world.socket(id) else { return Ok(()) };
        let is_served = self.state(id).is_some_and(|bytes| [WAITING, PAIRED].contains(&bytes[STORAGE_STATE]));
        if socket.cgroup() == Cgroup::OptedOut && self.form.has_policy() && is_served {
            return Err(Broken(format!("socket {id} is served, though its cgroup has opted out")));
        }
        if !socket.is_member() {
            return Ok(());
        }
        let refused = match socket.cgroup() {
            Cgroup::Outside => true,
            Cgroup::OptedOut => self.form.has_policy(),
            Cgroup::Accelerated => self.form.serves_named() || self.form.joins_later(),
            Cgroup::Trusted => false,
        };
        if refused { Err(Broken(format!("socket {id} of {:?} enters the sockhash", socket.cgroup()))) } else { Ok(()) }
    }

    /// The handshake of a plain connection is over: where the policy serves both its ends, they are a pair.
    fn check_paired(&mut self, server: SocketId) -> Result<(), Broken> {
        let is_plain = self.plain.remove(&server) && self.form.has_policy() && self.enabled && !self.disturbed;
        let Some(socket) = self.world.socket(server).filter(|_| is_plain) else { return Ok(()) };
        let client = socket.peer();
        let is_served = |id: SocketId| {
            let cgroup = self.world.socket(id).filter(|socket| !socket.is_closed()).map(Socket::cgroup);
            match cgroup {
                Some(Cgroup::Trusted) => true,
                Some(Cgroup::Accelerated) => !self.form.serves_named(),
                Some(Cgroup::OptedOut | Cgroup::Outside) | None => false,
            }
        };
        let room = self.world.machine.map(self.members).map_or(0, |map| super::MEMBERS as usize - map.len());
        let is_paired = self.state(server).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
        if is_served(client) && is_served(server) && room > 0 && !is_paired {
            return Err(Broken(format!("sockets {client} and {server} are not paired, though the policy serves both")));
        }
        let joined = |id: SocketId| {
            let socket = self.world.socket(id);
            socket.is_none_or(|socket| socket.is_member() || socket.cgroup() != Cgroup::Trusted)
        };
        match [client, server].into_iter().find(|id| is_paired && room > 0 && !joined(*id)) {
            Some(id) => Err(Broken(format!("socket {id} is not in the sockhash, though its cgroup is trusted"))),
            None => Ok(()),
        }
    }

    /// The end of an attacker who knows everything about the end of another. Each has a namespace of its own, since a
    /// namespace has no two sockets with the same addresses.
    fn attacker(&mut self, end: End) -> End {
        self.attackers += 1;
        End::new(1000 + self.attackers, end.local, end.remote, end.isn)
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
        let end = self.attacker(End::new(0, remote, local, expected.wrapping_sub(1)));
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
        let was_paired = self.state(server).is_some_and(|bytes| bytes[STORAGE_STATE] == PAIRED);
        self.world.finish_handshake(server)?;
        if !self.enabled && !before && is_member(&self.world, server) {
            return Err(Broken(format!("socket {server} enters the sockhash while the switch is off")));
        }
        self.note_server(server, was_paired)?;
        if !before {
            self.check_cgroup(server)?;
            self.check_paired(server)?;
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
        let cookie = u64::from_ne_bytes(bytes[STORAGE_PEER..STORAGE_PEER + 8].try_into().unwrap());
        if paired && cookie != socket.peer() {
            return Err(Broken(format!("socket {id} takes {cookie} for its peer, which is {}", socket.peer())));
        }
        Ok(())
    }
}
