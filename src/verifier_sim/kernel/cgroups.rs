//! Cgroups as programs see them: each names its directory and the cgroup above it.

use super::layout::{self, put};
use super::socket::Cgroup;
use crate::verifier_sim::interp::{Access, Machine, RegionId, RegionKind};

/// The root's ID.
const ROOT: u64 = 1;
/// Where in a region of [`layout::STRUCT_SIZE`] bytes the directory lies.
const DIRECTORY: usize = layout::STRUCT_SIZE / 2;

/// The root, and those of [`Cgroup`].
#[derive(Clone, Debug)]
pub(super) struct Cgroups {
    regions: [RegionId; 5],
}

impl Cgroups {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let regions =
            [(); 5].map(|()| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; layout::STRUCT_SIZE]));
        let [root, outside, accelerated, opted_out, trusted] = regions;
        let chains = [(root, None), (outside, Some(root)), (accelerated, Some(root)), (opted_out, Some(accelerated))];
        for ((region, above), id) in chains.into_iter().chain([(trusted, Some(accelerated))]).zip(ROOT..) {
            let bytes = machine.memory.bytes_mut(region);
            put(bytes, layout::CGROUP_DIRECTORY, &(region.address() + DIRECTORY as u64).to_ne_bytes());
            put(bytes, layout::CGROUP_PARENT, &above.map_or(0, RegionId::address).to_ne_bytes());
            put(bytes, DIRECTORY + layout::DIRECTORY_ID, &id.to_ne_bytes());
        }
        Self { regions }
    }

    /// Address of a cgroup.
    pub(super) fn address(&self, cgroup: Cgroup) -> u64 {
        let [_, outside, accelerated, opted_out, trusted] = self.regions;
        let region = match cgroup {
            Cgroup::Outside => outside,
            Cgroup::Accelerated => accelerated,
            Cgroup::OptedOut => opted_out,
            Cgroup::Trusted => trusted,
        };
        region.address()
    }
}

impl Cgroup {
    /// Its ID and those of the cgroups above it, the root's last.
    pub fn ids(self) -> Vec<u64> {
        match self {
            Self::Outside => vec![ROOT + 1, ROOT],
            Self::Accelerated => vec![ROOT + 2, ROOT],
            Self::OptedOut => vec![ROOT + 3, ROOT + 2, ROOT],
            Self::Trusted => vec![ROOT + 4, ROOT + 2, ROOT],
        }
    }
}
