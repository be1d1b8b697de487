//! Connections that exist already when a data plane is attached, or a cgroup is added to it.
//!
//! `crate::sockets` finds both ends of each local connection by their initial sequence numbers, in every network namespace. These
//! only nominate. The proof is that of new connections: each end's last packet carried the mark of the other one
//! (`dataplane::pairing::proof`), which the kernel keeps of every packet that a socket receives.
//!
//! An end becomes one of a pair under its own lock: the agent takes one more descriptor of it, and calls setsockopt(2) on that;
//! for that call a program runs (`dataplane::adopt`), which is attached to the cgroups of the data plane while connections are
//! adopted. So it can run only for sockets of these cgroups.

mod candidate;
mod cgroups;
mod end;
mod half;
mod looks;
mod promise;
mod support;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use super::changes::monotonic;
use super::error::{Context, Result};
use super::kernel::{Hook, kernel_offsets};
use super::load::{Loaded, load_at};
use crate::dataplane::{
    ADOPTION, AdoptionAnswer, AdoptionFields, AdoptionRequest, Change, Config, MapRole, Options, Probation, Refusal,
    Standing, adopt,
};
use crate::sockets::join;
use crate::syscall::cgroup::Cgroup;
use crate::syscall::{Link, LinkTarget, Map, MapSpec, Program, memlock};
use crate::uapi::{AttachType, MapType, ProgType};

use candidate::Candidate;
use cgroups::CgroupSets;
use end::{Asked, End};

pub(super) use cgroups::by_ids;
pub use looks::Looks;
pub(super) use promise::promise;
pub use support::adoption_support;
pub(super) use support::default_support;

/// The name of program and map in the kernel, at most 15 bytes.
const NAME: &str = "sidestep_adopt";
/// Where the program goes.
const ATTACH_TYPE: AttachType = AttachType::CGROUP_SETSOCKOPT;

/// What an attached data plane adopts with.
pub(super) struct Adopting<'a> {
    pub(super) sockets: &'a Map,
    pub(super) storage: &'a Map,
    pub(super) config: &'a Map,
    pub(super) counters: &'a Map,
    /// By which a process that watches hears of it, and by which it says that it does.
    pub(super) changes: &'a Map,
    pub(super) wanted: &'a Map,
    pub(super) options: &'a Options,
    /// Those that it is attached to.
    pub(super) cgroups: &'a [Cgroup],
    /// Those inside them that have opted out.
    pub(super) opted_out: &'a [Cgroup],
    /// Those inside them whose readers are trusted by name.
    pub(super) trusted: &'a [Cgroup],
}

/// What has come of an adoption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopted {
    /// Connections that are in a pair now.
    pub pairs: usize,
    /// Connections inside the cgroups that stay plain TCP for now: they were not proven, or not free, or closed meanwhile.
    pub others: usize,
}

/// What one connection has come to.
enum Outcome {
    Paired,
    /// It is in a pair already.
    Taken,
    /// Its pair has left, and does not come back yet.
    HasLeft,
    /// Its ends are not proven, or were not a pair for long.
    NotProven,
}

impl Adopting<'_> {
    /// Adopts what can be adopted now; `looks` says which of the connections that have left may come back. Where the kernel
    /// cannot do it, or the data plane is of a kind that cannot, that is an error.
    pub(super) fn adopt(&self, looks: &mut Looks) -> Result<Adopted> {
        let fields = support::fields(self.options)?;
        let mut adopted = Adopted::default();
        if !self.config()?.enabled {
            return Ok(adopted);
        }
        let cgroups = CgroupSets::new(self)?;
        let connections = join(looks.scan()?);
        let now = Instant::now();
        looks.note(&connections.local, now);
        let fit = connections.local.into_iter().filter_map(|one| Candidate::new(one, &cgroups, self.options));
        let due: Vec<_> = fit.filter(|one| looks.is_due(one.inode, now)).collect();
        let is_free = |one: &Candidate| !one.has_member || self.only_member(one).is_some();
        let (candidates, taken): (Vec<_>, Vec<_>) = due.into_iter().partition(is_free);
        // Where sockets join later, one end may be in our sockhash for a while before the other.
        if !self.options.joins_later() {
            taken.iter().for_each(|one| looks.put_off(one.inode, now));
        }
        if candidates.is_empty() {
            return Ok(adopted);
        }
        let requests = requests()?;
        let _attached = self.attach(&requests, &fields)?;
        let mut joined = Vec::new();
        for candidate in candidates {
            match self.one(&requests, &candidate, looks) {
                Ok(Outcome::Paired) => {
                    adopted.pairs += 1;
                    joined.push(candidate);
                }
                Ok(Outcome::HasLeft) => adopted.others += 1,
                Ok(Outcome::Taken) => looks.put_off(candidate.inode, now),
                Err(Refusal::NoCallbacks) => return Err(support::refused(support::NO_CALLBACKS)),
                Ok(Outcome::NotProven) | Err(_) => {
                    looks.put_off(candidate.inode, now);
                    adopted.others += 1;
                }
            }
        }
        if !self.options.joins_later() && self.config()?.probation() == Probation::Outside {
            end::wake_readers(&joined);
        }
        Ok(adopted)
    }

    fn config(&self) -> Result<Config> {
        let bytes = self.config.lookup(&[0; 4]).context("read the configuration")?;
        Ok(bytes.and_then(|bytes| Config::from_bytes(&bytes)).unwrap_or(Config { enabled: false, ..Config::default() }))
    }

    /// Lets those know that watch. What is wrong with that is nothing to the connection.
    fn report(&self, server: &Asked<'_>, [local, remote]: [SocketAddr; 2], [cookie, peer_cookie]: [u64; 2]) {
        let time = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
        let until = self.wanted.lookup(&[0; 4]).ok().flatten().and_then(|until| until.try_into().ok());
        if until.map_or(0, u64::from_ne_bytes) > time {
            // As the passive end of a new connection does.
            let _ = server.report(Change::adopted(time, [cookie, peer_cookie], [local, remote]));
        }
    }

    /// Attaches the program to the cgroups until the answer is dropped.
    fn attach(&self, requests: &Map, fields: &AdoptionFields) -> Result<Vec<Link>> {
        let program = load(self.options, fields, [self.storage, self.config, self.counters, self.changes, requests])?;
        let link = |cgroup: &Cgroup| {
            Link::create(program.as_fd(), LinkTarget::Fd(cgroup.as_fd()), ATTACH_TYPE)
                .context("attach the program that adopts connections to the cgroup")
        };
        self.cgroups.iter().map(link).collect()
    }

    /// Adopts one connection, if both ends are proven to be its ends.
    fn one(&self, requests: &Map, candidate: &Candidate, looks: &mut Looks) -> std::result::Result<Outcome, Refusal> {
        let asked = |end| {
            let socket = End::open(end).ok_or(Refusal::NotReached)?;
            Ok(Asked::new(requests, end, socket))
        };
        let [client, server] = [asked(&candidate.client)?, asked(&candidate.server)?];
        if candidate.has_member {
            match self.only_member(candidate) {
                Some(member) => self.take_out(member),
                // It has changed meanwhile.
                None => return Ok(Outcome::Taken),
            }
        }
        let [at_client, at_server] = [client.look()?, server.look()?];
        if at_client.is_taken || at_server.is_taken {
            self.recover([(&client, &at_client), (&server, &at_server)]);
            return Ok(Outcome::Taken);
        }
        if !at_client.is_client_of(&at_server) {
            return Ok(Outcome::NotProven);
        }
        if at_client.has_left || at_server.has_left {
            let may_return = [&at_client, &at_server].into_iter().all(looks::may_be_over);
            if !looks.tries(candidate.inode, may_return, Instant::now()) {
                return Ok(Outcome::HasLeft);
            }
        }
        server.prepare(&at_server)?;
        let paired = client.pair(&at_client, (at_server, candidate.server.sk));
        let paired = paired.and_then(|()| server.pair(&at_server, (at_client, candidate.client.sk)));
        let ends = [(&client, &at_client), (&server, &at_server)];
        let paired = paired.and_then(|()| if self.options.joins_later() { Ok(true) } else { self.enter(ends) });
        if !matches!(paired, Ok(true)) {
            for (end, seen) in ends {
                // One that has closed meanwhile needs no word.
                let _ = end.undo(seen);
            }
        }
        if !paired? {
            return Ok(Outcome::NotProven);
        }
        self.report(&server, candidate.addresses, [at_server.cookie, at_client.cookie]);
        Ok(Outcome::Paired)
    }

    /// Makes two ends plain TCP again that an agent which was killed has left in the middle. No other agent adopts now, since it would
    /// need the lock that we have.
    fn recover(&self, ends: [(&Asked<'_>, &AdoptionAnswer); 2]) {
        let of_pair = ends.map(|(_, seen)| seen.standing == Standing::Paired);
        // The scan has shown neither in a sockhash. But a handshake may have made them a pair since, which is in ours already.
        let is_member = |cookie: u64| !matches!(self.sockets.lookup(&cookie.to_ne_bytes()), Ok(None));
        let is_abandoned = match of_pair {
            // Every other pair is in the sockhash, except one that joins later.
            [true, true] => !self.options.joins_later() && !ends.iter().any(|(_, seen)| is_member(seen.cookie)),
            // The server has been prepared, and has not been told its peer.
            [true, false] => ends[1].1.standing == Standing::Unknown,
            [false, _] => false,
        };
        for (end, seen) in ends.iter().filter(|_| is_abandoned).filter(|(_, seen)| seen.standing == Standing::Paired) {
            // One that is armed has callbacks, in which it becomes plain TCP itself; one that has closed needs no word.
            let _ = end.recover(seen);
        }
    }

    /// Puts both ends into the sockhash. Answers whether they are a pair and stay there. While we are here, no other process
    /// turns the soft switch: it would need the lock that we have.
    fn enter(&self, ends: [(&Asked<'_>, &AdoptionAnswer); 2]) -> std::result::Result<bool, Refusal> {
        let stays = ends.iter().all(|(end, seen)| end.enter(self.sockets, seen.cookie))
            && ends.iter().all(|(end, _)| end.is_paired(self.storage));
        if !stays {
            // Only one end was in, or the pair has left meanwhile: either way nothing has been redirected to them since.
            ends.iter().for_each(|(_, seen)| drop(self.sockets.delete(&seen.cookie.to_ne_bytes())));
        }
        Ok(stays)
    }
}

/// The map by which the agent asks.
fn requests() -> Result<Map> {
    memlock::raise_if_needed()?;
    Ok(Map::create(&MapSpec::new(NAME, MapType::ARRAY, 4, AdoptionRequest::SIZE as u32, 1))?)
}

fn load(
    options: &Options,
    fields: &AdoptionFields,
    [storage, config, counters, changes, requests]: [&Map; 5],
) -> Result<Program> {
    let program = adopt(options, &kernel_offsets()?, fields)?;
    let maps = [
        (MapRole::Storage.map_ref(), storage),
        (MapRole::Config.map_ref(), config),
        (MapRole::Counters.map_ref(), counters),
        (MapRole::Changes.map_ref(), changes),
        (ADOPTION, requests),
    ];
    let map = |wanted| maps.iter().find(|(one, _)| *one == wanted).map(|(_, map)| *map);
    load_at(NAME, ProgType::CGROUP_SOCKOPT, &program, map, Some(Hook { attach_type: ATTACH_TYPE, btf_id: 0 }))
}

/// Whether the kernel takes the program beside this data plane.
pub(super) fn try_loading(options: &Options, loaded: &Loaded) -> Result<()> {
    let maps = [MapRole::Storage, MapRole::Config, MapRole::Counters, MapRole::Changes].map(|role| loaded.map(role));
    let [storage, config, counters, changes] = maps;
    load(options, &support::fields(options)?, [storage, config, counters, changes, &requests()?]).map(drop)
}
