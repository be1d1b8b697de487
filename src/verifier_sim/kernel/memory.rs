//! Memory that the kernel grants to sockets: TCP as a whole under pressure, and the groups with limits of their own.

use super::World;
use super::layout;
use super::socket::SocketId;
use crate::verifier_sim::interp::{Access, Machine, RegionId, RegionKind};

/// Number of a memory group.
pub type GroupId = usize;

/// Bytes of a page, the unit in which groups are charged.
const PAGE_SIZE: u32 = 4096;

/// A memory group with a limit (`struct mem_cgroup`).
#[derive(Clone, Copy, Debug)]
struct Group {
    region: RegionId,
    parent: Option<GroupId>,
    /// Pages.
    used: u64,
    limit: u64,
}

/// All groups, and what is the same for every TCP socket (`struct proto`).
#[derive(Clone, Debug)]
pub(super) struct Memory {
    groups: Vec<Group>,
    proto: RegionId,
    /// The word to which `proto.memory_pressure` points.
    pressure: RegionId,
    under_pressure: bool,
}

impl Memory {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let [proto, pressure] =
            [(); 2].map(|()| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]));
        layout::put(machine.memory.bytes_mut(proto), layout::MEMORY_PRESSURE, &pressure.address().to_ne_bytes());
        Self { groups: Vec::new(), proto, pressure, under_pressure: false }
    }

    /// Address of the protocol.
    pub(super) fn proto(&self) -> u64 {
        self.proto.address()
    }

    /// Address of a group.
    pub(super) fn group(&self, id: GroupId) -> u64 {
        self.groups.get(id).map_or(0, |group| group.region.address())
    }

    fn publish(&self, machine: &mut Machine, id: GroupId) {
        let Some(group) = self.groups.get(id) else { return };
        let above = group.parent.and_then(|parent| self.groups.get(parent));
        let above = above.map_or(0, |above| above.region.address() + layout::GROUP_MEMORY as u64);
        let counter = &mut machine.memory.bytes_mut(group.region)[layout::GROUP_MEMORY..];
        layout::put(counter, layout::USAGE, &group.used.to_ne_bytes());
        layout::put(counter, layout::LIMIT, &group.limit.to_ne_bytes());
        layout::put(counter, layout::PARENT, &above.to_ne_bytes());
    }
}

impl World {
    /// Creates a memory group below `parent` that may have `limit` pages.
    pub fn add_group(&mut self, parent: Option<GroupId>, limit: u64) -> GroupId {
        let region = self.machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]);
        self.memory.groups.push(Group { region, parent, used: 0, limit });
        let id = self.memory.groups.len() - 1;
        self.memory.publish(&mut self.machine, id);
        id
    }

    /// The group has this many pages free below its own limit.
    pub fn set_free_pages(&mut self, id: GroupId, free: u64) {
        if let Some(group) = self.memory.groups.get_mut(id) {
            group.used = group.limit.saturating_sub(free);
            self.memory.publish(&mut self.machine, id);
        }
    }

    /// The socket is charged to `group`, and has been granted `granted` bytes (`sk_forward_alloc`).
    pub fn set_group(&mut self, id: SocketId, group: Option<GroupId>, granted: i32) {
        if let Some(socket) = self.get(id) {
            (socket.group, socket.granted) = (group, granted);
        }
    }

    /// TCP as a whole is under memory pressure, or is not any more (`tcp_enter_memory_pressure`).
    pub fn set_memory_pressure(&mut self, under_pressure: bool) {
        self.memory.under_pressure = under_pressure;
        let word = self.machine.memory.bytes_mut(self.memory.pressure);
        layout::put(word, 0, &u64::from(under_pressure).to_ne_bytes());
    }

    /// Whether TCP as a whole is under memory pressure.
    pub fn is_under_memory_pressure(&self) -> bool {
        self.memory.under_pressure
    }

    /// The pages that the socket's group and those above it, `levels` in all, have free when `bytes` have been charged to the
    /// socket; `None` without a group, and when it has been granted as much already. Whole pages of a grant may be taken back.
    /// Negative when they have no room.
    pub fn pages_left(&self, id: SocketId, bytes: u32, levels: usize) -> Option<i64> {
        let socket = self.socket(id)?;
        if (socket.granted as u32 % PAGE_SIZE) >= bytes {
            return None;
        }
        let (mut next, mut least) = (socket.group, None::<i64>);
        for _ in 0..levels {
            let Some(group) = next.and_then(|id| self.memory.groups.get(id)) else { break };
            let free = group.limit as i64 - group.used as i64 - i64::from(bytes.div_ceil(PAGE_SIZE));
            least = Some(least.map_or(free, |least| least.min(free)));
            next = group.parent;
        }
        least
    }
}
