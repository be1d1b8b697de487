//! What connections could leave behind in the kernel.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sidestep::agent::Acceleration;
use sidestep::dataplane::MapRole;
use sidestep::syscall::id;

use crate::support::wait;

/// Slab caches that a leaked socket, psock, message or socket storage would show in.
const CACHES: [&str; 12] = [
    "TCP",
    "TCPv6",
    "request_sock_TCP",
    "request_sock_TCPv6",
    "sock_inode_cache",
    "skbuff_head_cache",
    "skbuff_fclone_cache",
    "skbuff_small_head",
    "kmalloc-192",
    "kmalloc-256",
    "kmalloc-1k",
    "kmalloc-2k",
];

/// Objects in use in each cache.
#[derive(Debug)]
pub(super) struct Residue(BTreeMap<String, i64>);

impl Residue {
    pub(super) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/slabinfo").expect("NOT TESTED: /proc/slabinfo cannot be read");
        let mut found = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(active)) = (words.next(), words.next())
                && CACHES.contains(&name)
            {
                found.insert(name.to_owned(), active.parse().unwrap());
            }
        }
        Self(found)
    }

    /// No cache may have grown by an object for every second connection. What else runs on the machine may use some,
    /// and objects are freed after grace periods, so this waits.
    pub(super) fn compare(&self, connections: usize) {
        let allowed = (connections / 2).max(2000) as i64;
        let growth = wait::wait_for(|| {
            let now = Self::now();
            let growth: Vec<(String, i64)> =
                now.0.iter().map(|(name, now)| (name.clone(), now - self.0.get(name).unwrap_or(&0))).collect();
            let few = growth.iter().all(|(_, grown)| *grown <= allowed);
            if few { Ok(growth) } else { Err(format!("more than {allowed} objects are left: {growth:?}")) }
        });
        eprintln!("objects more than before: {growth:?}");
    }
}

/// The kernel's numbers for the programs and maps of an acceleration.
pub(super) fn objects(acceleration: &Acceleration) -> (Vec<u32>, Vec<u32>) {
    let loaded = acceleration.loaded();
    let programs = [Some(&loaded.sock_ops), Some(&loaded.sk_msg), Some(&loaded.dispatcher), loaded.drain.as_ref()];
    let programs = programs.into_iter().flatten().map(|program| program.info().unwrap().id).collect();
    (programs, MapRole::ALL.iter().map(|role| loaded.map(*role).info().unwrap().id).collect())
}

/// How many of them still exist. Nothing is opened: see docs/explanation/lifecycle.md on arrays of programs.
pub(super) fn still_there((programs, maps): &(Vec<u32>, Vec<u32>)) -> usize {
    let alive =
        |kind, of: &[u32]| id::ids(kind).filter(|number| number.as_ref().is_ok_and(|id| of.contains(id))).count();
    alive(id::Kind::Prog, programs) + alive(id::Kind::Map, maps)
}

/// Waits until there is none.
pub(super) fn wait_for<T: Default + PartialEq + Debug>(what: &str, left: impl Fn() -> T) {
    wait::wait_for(|| match left() {
        none if none == T::default() => Ok(()),
        some => Err(format!("{what} are left: {some:?}")),
    });
}
