//! Sending chosen connections back to the stack, while the others go on.
//!
//! An iterator lists our sockets, with their addresses and cgroups; who calls chooses among them; the iterator marks what was
//! chosen, and both ends of each connection with it. From then on its messages take the stack, but behind redirected ones that
//! are unread. A marked pair leaves the sockhash in a callback, or by the drain when no callback comes. No byte is lost, and none
//! overtakes another: both are the ways in which connections leave at any time, and at detach.
//!
//! Before Linux 5.11 iterators do not see the marks: there a marked connection uses the stack, and leaves the sockhash
//! with its next acknowledgement, or when it is closed.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::drain::{IN_FLIGHT, Passes, RETRY_INTERVAL};
use super::error::{Context, Error, Result};
use super::kernel::{Hook, iter_sockmap_id, kernel_offsets, member_fields, tally_over};
use super::load::load_at;
use super::wake::Waker;
use crate::dataplane::{CHOSEN, Config, MapRole, Member, MembersOver, Probation, members, sockhash_key};
use crate::syscall::{self, Link, LinkTarget, Map, MapFlags, MapSpec, Program, UpdateFlags, iter_reader, memlock};
use crate::uapi::{AttachType, MapType, ProgType};

/// The name of program and map in the kernel, at most 15 bytes.
const NAME: &str = "sidestep_leave";

/// How long connections with traffic may take to leave where the drain does not see marks: an acknowledgement can be delayed by
/// 40 ms to 200 ms (`TCP_DELACK_MIN`, `TCP_DELACK_MAX`, include/net/tcp.h).
const BY_CALLBACK: Duration = Duration::from_millis(400);

/// The ID of the root of cgroup2: kernfs gives its root the inode number 1 (`kernfs_create_root`, fs/kernfs/dir.c).
const ROOT: u64 = 1;

/// The maps and programs of an attached data plane that this takes.
pub(super) struct Attached<'a> {
    pub(super) sockets: &'a Map,
    pub(super) storage: &'a Map,
    pub(super) config: &'a Map,
    /// None in the sticky tier.
    pub(super) drain: Option<&'a Program>,
    /// Whether readers are watched.
    pub(super) watches: bool,
}

/// Sends the connections back to the stack that have an end which `chosen` is true of, and waits at most `timeout` for what
/// is unread. Returns how many sockets are left in the sockhash: they use the stack.
pub(super) fn leave(attached: &Attached<'_>, chosen: &dyn Fn(&Member) -> bool, timeout: Duration) -> Result<usize> {
    let start = Instant::now();
    let config = attached.config.lookup(&[0; 4]).context("read the configuration")?;
    let config = config.and_then(|bytes| Config::from_bytes(&bytes));
    let Some(config) = config.filter(|config| config.enabled) else {
        // All messages take the stack, and the process that has turned the switch off drains.
        return Ok(0);
    };
    let Some(drain) = attached.drain else {
        return Err(Error::Unsupported {
            what: "single connections cannot be sent back to the stack in the sticky tier",
            why: "it takes BPF iterators, which need CAP_PERFMON and the kernel's BTF".into(),
            remedy: "detach, which ends acceleration for all of them, or close these connections",
        });
    };
    let sees_marks = kernel_offsets()?.iterators_have_storage;
    let joins_later = attached.watches && config.probation() == Probation::Outside;
    let lists = Lists::new(attached, sees_marks, joins_later)?;
    let passes = if sees_marks { Some(Passes::new(attached.sockets, drain)?) } else { None };
    let wakes = Waker::is_needed(config, attached.watches);
    let mut waker = Waker::default();
    let timeout = if sees_marks { timeout } else { timeout.min(BY_CALLBACK) };
    loop {
        let listed = lists.read()?;
        let leaving = both_ends(&listed, chosen);
        let fresh: Vec<u64> = leaving.iter().copied().filter(|cookie| !listed.is_marked(*cookie)).collect();
        if !fresh.is_empty() {
            lists.mark(&fresh)?;
            if wakes {
                waker = Waker::of(&leaving);
            }
            waker.wake_for(IN_FLIGHT);
        }
        if let Some(passes) = &passes {
            passes.run()?;
        }
        waker.wake();
        let left = lists.members_of(&listed, &leaving)?;
        if (left == 0 && fresh.is_empty()) || start.elapsed() >= timeout {
            return Ok(left);
        }
        waker.wake_for(RETRY_INTERVAL);
    }
}

/// Whether a socket belongs to one of these cgroups, or to one inside them.
pub(super) fn is_within(member: &Member, cgroups: &HashSet<u64>) -> bool {
    let root = member.cgroups.is_empty() && cgroups.contains(&ROOT);
    root || member.cgroups.iter().any(|id| cgroups.contains(id))
}

/// The sockets that `chosen` is true of, those that they know as their peers, and those that know them.
fn both_ends(listed: &Listed, chosen: &dyn Fn(&Member) -> bool) -> HashSet<u64> {
    let all = || listed.0.values().map(|(member, _)| member);
    let first: HashSet<u64> = all().filter(|member| chosen(member)).map(|member| member.state.cookie).collect();
    let peers = all().filter_map(|member| {
        let (own, peer) = (member.state.cookie, member.state.peer_cookie);
        match (first.contains(&own), first.contains(&peer)) {
            (true, _) if listed.0.contains_key(&peer) => Some(peer),
            (_, true) => Some(own),
            _ => None,
        }
    });
    let peers: Vec<u64> = peers.collect();
    first.into_iter().chain(peers).collect()
}

/// Sockets by cookie, each with the key that it has in the sockhash.
struct Listed(HashMap<u64, (Member, Vec<u8>)>);

impl Listed {
    fn is_marked(&self, cookie: u64) -> bool {
        self.0.get(&cookie).is_some_and(|(member, _)| member.state.is_leaving)
    }
}

/// The iterators that list and mark.
struct Lists<'a> {
    sockets: &'a Map,
    chosen: Map,
    links: Vec<Link>,
    storage_size: usize,
}

impl<'a> Lists<'a> {
    fn new(attached: &Attached<'a>, sees_marks: bool, joins_later: bool) -> Result<Self> {
        memlock::raise_if_needed()?;
        let spec = MapSpec::new(NAME, MapType::HASH, 8, 4, attached.sockets.max_entries());
        let chosen = Map::create(&spec.flags(MapFlags::NO_PREALLOC))?;
        let storage_size = attached.storage.value_size();
        let mut lists = Self { sockets: attached.sockets, chosen, links: Vec::new(), storage_size };
        if sees_marks {
            lists.add(attached, MembersOver::Sockhash)?;
        }
        // Those that are to join the sockhash later are in no other list.
        if !sees_marks || joins_later {
            lists.add(attached, MembersOver::Storages)?;
        }
        Ok(lists)
    }

    fn add(&mut self, attached: &Attached<'_>, over: MembersOver) -> Result<()> {
        let offsets = kernel_offsets()?;
        let program = members(&offsets, &member_fields()?, over, self.storage_size as u32)?;
        let storage_ref = MapRole::Storage.map_ref();
        let map = |map| match map {
            _ if map == storage_ref => Some(attached.storage),
            CHOSEN => Some(&self.chosen),
            _ => None,
        };
        let (hook, target) = match over {
            MembersOver::Sockhash => {
                let hook = Hook { attach_type: AttachType::TRACE_ITER, btf_id: iter_sockmap_id()? };
                (hook, LinkTarget::IterMap(attached.sockets.as_fd()))
            }
            MembersOver::Storages => {
                let over = tally_over(&offsets)?;
                (over.hook(), over.target(attached.storage))
            }
        };
        let program = load_at(NAME, ProgType::TRACING, &program, map, Some(hook))?;
        let link = Link::create(program.as_fd(), target, AttachType::TRACE_ITER).context("list our sockets")?;
        self.links.push(link);
        Ok(())
    }

    fn read(&self) -> Result<Listed> {
        let mut listed = HashMap::new();
        for link in &self.links {
            let mut bytes = Vec::new();
            let failed = |error| {
                Error::Syscall(syscall::Error::Invalid(format!("listing our sockets stopped: {error}; try again")))
            };
            iter_reader(link).context("list our sockets")?.read_to_end(&mut bytes).map_err(failed)?;
            for one in bytes.chunks_exact(Member::size(self.storage_size)) {
                // A socket without a number is plain TCP. All of them would have the same place in this list.
                let member = Member::from_bytes(one).filter(|member| member.state.cookie != 0);
                if let (Some(member), Some(key)) = (member, sockhash_key(one, self.sockets.key_size())) {
                    listed.insert(member.state.cookie, (member, key));
                }
            }
        }
        Ok(Listed(listed))
    }

    fn mark(&self, cookies: &[u64]) -> Result<()> {
        for cookie in cookies {
            self.chosen
                .update(&cookie.to_ne_bytes(), &[0; 4], UpdateFlags::empty())
                .context("choose sockets that are to leave")?;
        }
        self.read().map(drop)
    }

    /// How many of these are in the sockhash now.
    fn members_of(&self, listed: &Listed, cookies: &HashSet<u64>) -> Result<usize> {
        let mut count = 0;
        for (_, key) in cookies.iter().filter_map(|cookie| listed.0.get(cookie)) {
            count += usize::from(self.sockets.lookup(key).context("look up a socket")?.is_some());
        }
        Ok(count)
    }
}
