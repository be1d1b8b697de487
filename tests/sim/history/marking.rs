//! The agent lists sockets, and marks those that are to leave (src/agent/leave.rs).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use sidestep::dataplane::{Member, SocketState};
use sidestep::verifier_sim::kernel::{Address, SocketId};
use sidestep::verifier_sim::spec::{MapSpec, MapType};

use super::{Broken, STORAGE_COOKIE, STORAGE_LEAVING, STORAGE_PEER, Simulation};

/// The map of what is to be marked.
pub(super) fn chosen_spec() -> MapSpec {
    MapSpec { map_type: MapType::HASH, key_size: 8, value_size: 4, max_entries: 64, ..MapSpec::default() }
}

impl Simulation {
    /// The agent marks a socket, the one that it knows as its peer, and the one that knows it.
    pub(super) fn mark(&mut self, id: SocketId) -> Result<(), Broken> {
        if !self.form.is_gated() || self.is_orphaned {
            return Ok(());
        }
        let mut ends = BTreeSet::from([id]);
        ends.extend(self.word(id, STORAGE_PEER).filter(|peer| *peer != 0));
        ends.extend(self.world.socket_ids().into_iter().filter(|other| self.word(*other, STORAGE_PEER) == Some(id)));
        let seen = self.seen();
        // A socket that has been in no pair has not noted its number.
        let is_chosen = |id: &SocketId| ends.contains(id) && self.word(*id, STORAGE_COOKIE) == Some(*id);
        let marked: BTreeSet<_> = seen.iter().copied().filter(is_chosen).collect();
        let before: Vec<_> = self.with_storage();
        self.choose(&ends);
        let listed = self.world.list()?;
        for (id, state) in before {
            let mut expected = state;
            if marked.contains(&id) {
                expected[STORAGE_LEAVING] = 1;
            }
            if self.state(id).is_none_or(|state| *state != *expected) {
                return Err(Broken(format!("{ends:?} are chosen; socket {id} is not as it should be")));
            }
        }
        self.check_listed(&listed, &seen)
    }

    /// The sockets to which the agent's lists come, one after the other: those that have storage.
    fn seen(&self) -> Vec<SocketId> {
        let all = self.form.lists().into_iter().flat_map(|(_, over)| self.world.come_to(over));
        all.filter(|id| self.state(*id).is_some()).collect()
    }

    /// All sockets that have storage, and what is in it.
    fn with_storage(&self) -> Vec<(SocketId, Vec<u8>)> {
        let all = self.world.socket_ids().into_iter();
        all.filter_map(|id| Some((id, self.state(id)?.to_vec()))).collect()
    }

    /// The map has these sockets and no others.
    fn choose(&mut self, ids: &BTreeSet<SocketId>) {
        let (map, memory) = self.world.machine.map_and_memory(self.chosen).unwrap();
        let others: Vec<_> = map.keys().map(<[u8]>::to_vec).collect();
        others.iter().for_each(|key| map.delete(key).unwrap());
        ids.iter().for_each(|id| map.update(memory, &id.to_ne_bytes(), &[0; 4], 0, 0).unwrap());
    }

    /// The agent has been told of these sockets, what is true of them, and of no others.
    fn check_listed(&self, listed: &[u8], seen: &[SocketId]) -> Result<(), Broken> {
        let size = Member::size(self.state(*seen.first().unwrap_or(&0)).map_or(0, <[u8]>::len));
        let mut records = listed.chunks(size);
        for id in seen {
            let member = records.next().and_then(Member::from_bytes);
            let told = member.map(|member| (Some(member.state), member.local, member.remote, member.cgroups));
            let socket = self.world.socket(*id).unwrap();
            let (_, local, remote) = socket.addresses();
            let state = SocketState::from_bytes(self.state(*id).unwrap());
            let is = (state, address(local), address(remote), socket.cgroup().ids());
            if told.as_ref() != Some(&is) {
                return Err(Broken(format!("the agent is told {told:?} of socket {id}, which is {is:?}")));
            }
        }
        if records.next().is_some() {
            return Err(Broken(format!("the agent is told of others than {seen:?}")));
        }
        Ok(())
    }
}

fn address(of: Address) -> SocketAddr {
    (Ipv4Addr::from(of.ip), of.port).into()
}
