//! The kernel's programs and links that matter here: sidestep's own, those without an owner, and the neighbours'.

use std::time::Duration;

use super::generation::switch;
use crate::agent::drain::{drain, members};
use crate::agent::error::Result;
use crate::agent::load::{create, load_drain};
use crate::agent::problem::Neighbour;
use crate::agent::{TierChoice, choose_tier};
use crate::dataplane::{self, MapRole, Options, Pairing, Policy, Readers};
use crate::syscall::id::{self, Kind};
use crate::syscall::{Errno, Link, LinkDetail, LinkInfo, Map, ProgInfo, Program};
use crate::uapi::ProgType;

/// How all our programs are named, and the one on the sockhash.
const PREFIX: &str = "sidestep_";
const DISPATCHER: &str = "sidestep_disp";

/// The programs of that name, the links that hold one of them, and programs of others on the same hooks.
///
/// Maps are found through the programs that use them, and are not opened for the list: closing the last descriptor of an
/// array of programs a second time before the kernel's work queue has emptied it leaks the array
/// (`prog_array_map_clear`, kernel/bpf/arraymap.c, takes a reference for work that is queued only once).
#[derive(Debug)]
pub(in crate::agent) struct Inventory {
    pub(super) programs: Vec<ProgInfo>,
    pub(super) links: Vec<LinkInfo>,
    pub(in crate::agent) neighbours: Vec<Neighbour>,
}

impl Inventory {
    /// Lists them; `None` when this process may not: it takes CAP_SYS_ADMIN.
    pub(in crate::agent) fn take() -> Result<Option<Self>> {
        let list = || -> crate::syscall::Result<Self> {
            let all_programs = all(Kind::Prog, |id| Program::from_id(id)?.info())?;
            let mut links = all(Kind::Link, |id| Link::from_id(id)?.info())?;
            let (programs, others): (Vec<_>, Vec<_>) =
                all_programs.into_iter().partition(|program| program.name.starts_with(PREFIX));
            let of_interest = others.into_iter().filter(|program| Neighbour::is_of_interest(program.prog_type));
            let neighbours = of_interest.map(|program| neighbour(program, &links)).collect();
            links.retain(|link| programs.iter().any(|program| program.id == link.prog_id));
            Ok(Self { programs, links, neighbours })
        };
        match list() {
            Err(error) if error.errno() == Some(Errno::EPERM) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// The programs that use a map.
    pub(super) fn users(&self, map: u32) -> impl Iterator<Item = &ProgInfo> {
        self.programs.iter().filter(move |program| program.map_ids.contains(&map))
    }

    /// The sockhashes: the kernel lists a program's maps in the order in which it names them first, and the dispatcher
    /// names the sockhash first.
    pub(in crate::agent) fn sockhashes(&self) -> impl Iterator<Item = u32> {
        let dispatchers = self.programs.iter().filter(|program| program.name == DISPATCHER);
        dispatchers.filter_map(|program| program.map_ids.first().copied())
    }

    /// Sockhashes with programs but without a sock_ops program: the process that attached them has ended, and the sockets
    /// in the map keep the rest. (A living owner loads the sock_ops program first, and frees it last.)
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        let groups = self.sockhashes().map(|map| (map, self.users(map).collect::<Vec<_>>()));
        groups
            .filter(|(_, users)| users.iter().all(|user| user.prog_type != ProgType::SOCK_OPS))
            .map(|(sockhash, users)| Orphan { sockhash, programs: users.iter().map(|user| user.id).collect() })
            .collect()
    }
}

fn neighbour(program: ProgInfo, links: &[LinkInfo]) -> Neighbour {
    let mut found = Neighbour {
        program: program.id,
        name: program.name,
        prog_type: program.prog_type,
        cgroups: Vec::new(),
        socket_maps: Vec::new(),
    };
    for link in links.iter().filter(|link| link.prog_id == program.id) {
        match link.detail {
            LinkDetail::Cgroup { cgroup_id, .. } => found.cgroups.push(cgroup_id),
            LinkDetail::Sockmap { map_id, .. } => found.socket_maps.push(map_id),
            _ => {}
        }
    }
    found
}

/// Opens each object of a kind. One that has gone meanwhile is skipped, and so is a link that is not attached yet, of which
/// the kernel says EAGAIN (`bpf_link_by_id`, kernel/bpf/syscall.c): another process is making it.
fn all<T>(kind: Kind, open: impl Fn(u32) -> crate::syscall::Result<T>) -> crate::syscall::Result<Vec<T>> {
    let opened = id::ids(kind).map(|id| id.and_then(&open));
    let absent = [Some(Errno::ENOENT), Some(Errno::EAGAIN)];
    opened.filter(|object| !matches!(object, Err(error) if absent.contains(&error.errno()))).collect()
}

/// Sockets in a map whose owner has ended. The kernel has emptied the dispatcher's array with the owner's last descriptor,
/// so they use the stack; only their place in the map distinguishes them from plain TCP. They leave as they close.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// The kernel's number of the sockhash.
    pub sockhash: u32,
    /// The programs that sockets in it still run.
    pub programs: Vec<u32>,
}

/// The maps without an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Orphans {
    /// All there are.
    Found(Vec<Orphan>),
    /// The list takes CAP_SYS_ADMIN.
    NotAllowed,
}

impl Orphan {
    /// All of them on this machine.
    pub fn find() -> Result<Orphans> {
        Ok(Inventory::take()?.map_or(Orphans::NotAllowed, |found| Orphans::Found(found.orphans())))
    }

    /// How many sockets are in the map.
    pub fn members(&self) -> Result<usize> {
        members(&Map::from_id(self.sockhash)?)
    }

    /// Sends the sockets back to plain TCP, those with unread bytes when these have been read, for at most `timeout`.
    /// Returns how many are left; with none the kernel frees everything.
    pub fn recover(&self, timeout: Duration) -> Result<usize> {
        // Its members, and with them the map, may go at any moment.
        let sockets = match Map::from_id(self.sockhash) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(0),
            sockets => sockets?,
        };
        for program in &self.programs {
            self.switch_off(*program)?;
        }
        let pairing = if sockets.key_size() == 8 { Pairing::Sequence } else { Pairing::FourTuple };
        let (tier, _) = choose_tier(TierChoice::Gated)?;
        let plane = dataplane::build(Options { pairing, tier, readers: Readers::Any, policy: Policy::default() })?;
        // What else the drain names is its own: nothing is known of these sockets, and the orphan's counters may be gone.
        let others = plane.maps.iter().filter(|map| map.role != MapRole::Sockets);
        let others = others.map(|map| Ok((map.role.map_ref(), create(map)?))).collect::<Result<Vec<_>>>()?;
        let program = plane.drain.as_ref().map(|program| {
            load_drain(program, |map| match others.iter().find(|(role, _)| *role == map) {
                Some((_, own)) => Some(own),
                None => Some(&sockets),
            })
        });
        drain(&sockets, program.transpose()?.as_ref(), timeout, false)
    }

    /// While another process holds the dispatcher's array open, its program still redirects; the soft switch ends that.
    fn switch_off(&self, program: u32) -> Result<()> {
        let Ok(program) = Program::from_id(program) else { return Ok(()) };
        let info = program.info()?;
        // One of the dispatcher's maps is that array.
        for map in info.map_ids.into_iter().filter(|_| info.name != DISPATCHER) {
            if let Ok(map) = Map::from_id(map)
                && map.name() == MapRole::Config.name()
            {
                switch(&map, false, false)?;
            }
        }
        Ok(())
    }
}
