//! The map types, by creating one of each.

use super::finding::{Answer, Finding, Need};
use crate::syscall::btf::StorageBtf;
use crate::syscall::{Errno, Error, Map, MapFlags, MapSpec};
use crate::uapi::MapType;

/// One finding a type that the data plane uses.
pub(super) fn all() -> Vec<Finding> {
    [
        (
            MapType::SOCKHASH,
            "It holds the accelerated sockets.",
            "CONFIG_NET_SOCK_MSG=y (4.18; CONFIG_BPF_STREAM_PARSER before 5.13)",
        ),
        (MapType::SK_STORAGE, "It holds each socket's own state.", "CONFIG_BPF_SYSCALL=y (5.2)"),
        (MapType::LRU_HASH, "New connections wait in it for their other end.", "CONFIG_BPF_SYSCALL=y (4.10)"),
        (MapType::ARRAY, "It holds the soft switch and the bounds.", "CONFIG_BPF_SYSCALL=y"),
        (MapType::PERCPU_ARRAY, "It holds the counters.", "CONFIG_BPF_SYSCALL=y (4.6)"),
    ]
    .into_iter()
    .map(|(map_type, why, config)| {
        let answer = match create(map_type) {
            Ok(_) => Answer::Yes(String::new()),
            // The kernel's answer to a type that it does not know (find_and_alloc_map, kernel/bpf/syscall.c).
            Err(error) if error.errno() == Some(Errno::EINVAL) => Answer::No(error.to_string()),
            Err(error) => Answer::unknown(&error),
        };
        Finding::new("map types", Need::Required, map_type.to_string(), answer)
            .why(why)
            .remedy(format!("check the privileges above; the kernel must be built with {config}"))
    })
    .collect()
}

fn create(map_type: MapType) -> Result<Map, Error> {
    let name = "sidestep_check";
    if map_type == MapType::SK_STORAGE {
        let btf = StorageBtf::load(8)?;
        return Map::create(&MapSpec::new(name, map_type, 4, 8, 0).flags(MapFlags::NO_PREALLOC).btf(btf.for_map()));
    }
    // Arrays take keys of 4 bytes only, and every type here takes those.
    Map::create(&MapSpec::new(name, map_type, 4, 8, 1))
}
